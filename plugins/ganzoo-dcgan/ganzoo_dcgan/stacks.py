"""Generators and discriminators that are a row of blocks: what all DCGAN variants share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

from torch import Tensor, nn

from ganzoo.components.component import DiscriminatorConfig, GeneratorConfig
from ganzoo.components.network import Discriminator, Generator
from ganzoo.images import Facts


class StackedGenerator(Generator):
    """Latents go through `blocks`, one after the other.

    Args:
        config: the options.
        facts: the images to make.
        blocks: the first takes latents (N, latent_dim), or (N, latent_dim, 1, 1) where `from_pixel`;
            the last gives images in [−1, 1].
        from_pixel: hand latents over as images of one pixel.
    """

    def __init__(
        self, config: GeneratorConfig, *, facts: Facts, blocks: Iterable[nn.Module], from_pixel: bool = False
    ) -> None:
        super().__init__(config, facts=facts)
        self.blocks = nn.Sequential(*blocks)
        self.from_pixel = from_pixel

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images (N, C, H, W) for latents (N, latent_dim)."""
        return cast("Tensor", self.blocks(latents[:, :, None, None] if self.from_pixel else latents))


class StackedDiscriminator(Discriminator):
    """Images go through `blocks`, whose outputs are the features, and `head`, which gives the logit.

    Args:
        config: the options.
        facts: the images to judge.
        blocks: the first takes images (N, C, H, W).
        head: takes what the last block gives, and gives one number for each image.
    """

    def __init__(
        self, config: DiscriminatorConfig, *, facts: Facts, blocks: Sequence[nn.Module], head: nn.Module
    ) -> None:
        super().__init__(config, facts=facts)
        self.blocks = nn.Sequential(*blocks)
        self.head = head

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Logits (N,)."""
        return cast("Tensor", self.head(self.blocks(images)).flatten())

    def features(self, images: Tensor) -> list[Tensor]:
        """The output of each block."""
        maps = []
        for block in self.blocks:
            images = block(images)
            maps.append(images)
        return maps
