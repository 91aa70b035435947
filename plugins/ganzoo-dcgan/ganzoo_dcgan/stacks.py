"""Generators and discriminators as sequences of blocks, shared by all DCGAN variants."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from itertools import pairwise
from typing import Literal, cast

import torch
from torch import Tensor, nn

from ganzoo.plugin import DatasetInfo, Discriminator, DiscriminatorConfig, Generator, GeneratorConfig
from ganzoo_dcgan.blocks import ActivationFactory, DownBlock, NormFactory, UpBlock, Upsampling, Wrap
from ganzoo_dcgan.conditioning import concat_labels, one_hot, shares

Prior = Literal["normal", "uniform"]


class StackedGenerator(Generator):
    """Latents go through `blocks`, one after the other.

    Args:
        config: the options.
        info: the images to make.
        blocks: the first takes latents (N, latent_dim), or (N, latent_dim, 1, 1) where `from_pixel`;
            the last gives images in [−1, 1].
        from_pixel: hand latents over as images of one pixel.
        prior: what latents are drawn from: N(0, 1) or U(−1, 1).
    """

    def __init__(
        self,
        config: GeneratorConfig,
        *,
        info: DatasetInfo,
        blocks: Iterable[nn.Module],
        from_pixel: bool = False,
        prior: Prior = "normal",
    ) -> None:
        super().__init__(config, info=info)
        self.blocks = nn.Sequential(*blocks)
        self.from_pixel = from_pixel
        self.prior = prior

    def forward(self, latents: Tensor) -> Tensor:
        """Return images (N, C, H, W) for latents (N, latent_dim)."""
        return cast("Tensor", self.blocks(latents[:, :, None, None] if self.from_pixel else latents))

    def sample_latents(self, count: int, rng: torch.Generator) -> Tensor:
        """Draw latents (count, latent_dim) from `prior`, on the device of `rng`."""
        if self.prior == "uniform":
            return torch.rand(count, self.config.latent_dim, generator=rng, device=rng.device) * 2 - 1
        return super().sample_latents(count, rng)


class StackedDiscriminator(Discriminator):
    """Images go through `blocks`, whose outputs are the features, and `head`, which gives the logit.

    Args:
        config: the options.
        info: the images to judge.
        blocks: the first takes images (N, C, H, W).
        head: takes what the last block gives, and gives one number for each image or for each of its patches.
    """

    def __init__(
        self, config: DiscriminatorConfig, *, info: DatasetInfo, blocks: Sequence[nn.Module], head: nn.Module
    ) -> None:
        super().__init__(config, info=info)
        self.blocks = nn.Sequential(*blocks)
        self.head = head

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N,), or (N, P) where the head gives P for an image."""
        return cast("Tensor", self.head(self.blocks(images)).flatten(1).squeeze(1))

    def features(self, images: Tensor) -> list[Tensor]:
        """Return the output of each block."""
        maps = []
        for block in self.blocks:
            images = block(images)
            maps.append(images)
        return maps


class ConditionalStackedGenerator(StackedGenerator):
    """Latents go through `blocks`, each of which also gets the one-hot labels.

    Args:
        config: the options.
        info: the images to make, and their classes.
        blocks: each takes `info.num_classes` more features or channels than the one before gives.
        prior: what latents are drawn from: N(0, 1) or U(−1, 1).
    """

    def __init__(
        self, config: GeneratorConfig, *, info: DatasetInfo, blocks: Iterable[nn.Module], prior: Prior = "normal"
    ) -> None:
        super().__init__(config, info=info, blocks=blocks, prior=prior)

    def forward(self, latents: Tensor, *, labels: Tensor) -> Tensor:  # type: ignore[override]
        """Return images (N, C, H, W) for latents (N, latent_dim) and class indices (N,)."""
        classes = one_hot(labels, self.info.num_classes)
        images = latents
        for block in self.blocks:
            images = block(concat_labels(images, classes))
        return images


class ConditionalStackedDiscriminator(StackedDiscriminator):
    """Images go through `blocks`, are flattened, and go through `head`; each layer also gets the one-hot labels.

    Args:
        config: the options.
        info: the images to judge, and their classes.
        blocks: each takes `info.num_classes` more channels than the one before gives.
        head: dense layers, each of which takes so many more features; the last gives one number for each image.
    """

    head: nn.Sequential

    def __init__(
        self, config: DiscriminatorConfig, *, info: DatasetInfo, blocks: Sequence[nn.Module], head: Iterable[nn.Module]
    ) -> None:
        super().__init__(config, info=info, blocks=blocks, head=nn.Sequential(*head))

    def forward(self, images: Tensor, *, labels: Tensor) -> Tensor:  # type: ignore[override]
        """Return logits (N,) for images (N, C, H, W) and class indices (N,)."""
        classes = one_hot(labels, self.info.num_classes)
        features = self._maps(images, classes)[-1].flatten(1)
        for layer in self.head:
            features = layer(concat_labels(features, classes))
        return features.flatten()

    def features(self, images: Tensor, *, labels: Tensor | None = None) -> list[Tensor]:
        """Return the output of each block; an unknown class is all classes in equal parts."""
        return self._maps(images, shares(labels, self.info.num_classes, images))

    def _maps(self, images: Tensor, classes: Tensor) -> list[Tensor]:
        maps = []
        for block in self.blocks:
            images = block(concat_labels(images, classes))
            maps.append(images)
        return maps


def doublings(info: DatasetInfo) -> int:
    """How often 4×4 is doubled to give the image."""
    return (info.image.height // 4).bit_length() - 1


def up_blocks(
    inputs: int,
    info: DatasetInfo,
    *,
    width: int,
    max_channels: int,
    norm: NormFactory | None = nn.BatchNorm2d,
    edge_bias: bool = True,
    wrap: Wrap | None = None,
    upsampling: Upsampling = "transposed",
) -> list[UpBlock]:
    """Build the 4×4 blocks of DCGAN's generator: from (N, inputs, 1, 1) over 4×4, 8×8, … to an image in [−1, 1].

    Args:
        inputs: numbers in a latent vector, with whatever is concatenated to it.
        info: the images to make.
        width: half the channels before the last layer; they double towards the 4×4 start.
        max_channels: no layer has more.
        norm: of every layer but the last; without it, these have biases.
        edge_bias: whether the last layer has one.
        wrap: applied to every convolution.
        upsampling: of every layer but the first.
    """
    widths = [min(width * 2**power, max_channels) for power in range(doublings(info), 0, -1)]
    up = partial(UpBlock, wrap=wrap, upsampling=upsampling)
    return [
        UpBlock(inputs, widths[0], stride=1, padding=0, bias=norm is None, norm=norm, wrap=wrap),
        *(up(before, after, bias=norm is None, norm=norm) for before, after in pairwise(widths)),
        up(widths[-1], info.image.channels, bias=edge_bias, norm=None, activation=nn.Tanh),
    ]


def down_blocks(
    inputs: int,
    info: DatasetInfo,
    *,
    width: int,
    max_channels: int,
    activation: ActivationFactory,
    norm: NormFactory | None = None,
    edge_bias: bool = True,
    wrap: Wrap | None = None,
) -> tuple[list[DownBlock], int]:
    """Build the 4×4 blocks of DCGAN's discriminator: from an image (N, inputs, H, W) to (N, channels, 4, 4).

    Args:
        inputs: channels of the image, with whatever is concatenated to it.
        info: the images that it sees.
        width: channels of the first layer; they double with each.
        max_channels: no layer has more.
        activation: of every layer.
        norm: of every layer but the first; without it, these have biases.
        edge_bias: whether the first layer has one.
        wrap: applied to every convolution.

    Returns:
        The blocks, and how many channels the last of them gives.
    """
    widths = [min(width * 2**power, max_channels) for power in range(doublings(info))]
    first = DownBlock(inputs, widths[0], bias=edge_bias, norm=None, activation=activation, wrap=wrap)
    others = [
        DownBlock(before, after, bias=norm is None, norm=norm, activation=activation, wrap=wrap)
        for before, after in pairwise(widths)
    ]
    return [first, *others], widths[-1]


def logit_block(channels: int, *, bias: bool = True, wrap: Wrap | None = None) -> DownBlock:
    """Build the block from (N, channels, 4, 4) to logits (N, 1, 1, 1)."""
    return DownBlock(channels, 1, padding=0, bias=bias, norm=None, activation=None, wrap=wrap)
