"""SNGAN's ResNets for 32 and 64 pixels (arXiv 1802.05957, appendix B.4)."""

from __future__ import annotations

from itertools import pairwise
from typing import cast

from ganzoo_dcgan.blocks import NormFactory, Projection
from torch import Tensor, nn
from torch.nn import functional as F

from ganzoo.plugin import DatasetInfo, Discriminator, Generator
from ganzoo_networks.class_norm import normalize
from ganzoo_networks.configs import ResNetDiscriminatorConfig, ResNetGeneratorConfig
from ganzoo_networks.residual import DownResidual, UpResidual, convolution
from ganzoo_networks.spectral import spectral

START = 4
GENERATOR_WIDTHS = {32: (256, (1, 1, 1, 1)), 64: (64, (16, 8, 4, 2, 1))}
"""By image size: the paper's width, and the channels at 4×4, 8×8, … as multiples of it."""
DISCRIMINATOR_WIDTHS = {32: (128, (1, 1, 1, 1)), 64: (64, (1, 2, 4, 8, 16))}
"""By image size: the paper's width, and the channels of each block as multiples of it."""
HALVINGS = {32: 2, 64: 5}
"""Blocks of the discriminator, from the first on, that halve the image."""


class ResNetGenerator(Generator):
    """Dense layer to 4×4, residual blocks that double, norm, ReLU, 3×3, tanh.

    Table 4 of the paper at 32 pixels: 256 channels throughout. At 64 pixels 1024, 512, 256, 128, 64 channels, as
    the authors' code has it.
    """

    Config = ResNetGeneratorConfig

    def __init__(self, config: ResNetGeneratorConfig, *, info: DatasetInfo, norm: NormFactory = nn.BatchNorm2d) -> None:
        super().__init__(config, info=info)
        width, multiples = GENERATOR_WIDTHS[info.image.height]
        widths = [(config.width or width) * multiple for multiple in multiples]
        self.projection = Projection(config.latent_dim, widths[0], START, norm=None)
        self.blocks = nn.ModuleList(UpResidual(before, after, norm=norm) for before, after in pairwise(widths))
        self.norm = nn.BatchNorm2d(widths[-1])
        self.image = convolution(widths[-1], info.image.channels, 3, gain=1.0, wrap=None)
        _start_dense(self.projection.dense)

    def forward(self, latents: Tensor, *, labels: Tensor | None = None) -> Tensor:
        """Return images (N, C, H, W) for latents (N, latent_dim), and class indices (N,) where the norms need them."""
        images = self.projection(latents)
        for block in self.blocks:
            images = block(images, labels)
        return cast("Tensor", self.image(F.relu(normalize(self.norm, images, labels))).tanh())


class ResNetDiscriminator(Discriminator):
    """Residual blocks with spectral norm and without batch norm, ReLU, a sum over all places, a dense layer.

    Table 4 of the paper at 32 pixels: four blocks of 128 channels, two of which halve. At 64 pixels 64, 128, 256,
    512, 1024 channels, as the authors' code has it. At 32 pixels that code has no bias in the dense layer.
    """

    Config = ResNetDiscriminatorConfig

    def __init__(self, config: ResNetDiscriminatorConfig, *, info: DatasetInfo) -> None:
        super().__init__(config, info=info)
        width, multiples = DISCRIMINATOR_WIDTHS[info.image.height]
        widths = [info.image.channels, *((config.width or width) * multiple for multiple in multiples)]
        halvings = HALVINGS[info.image.height]
        self.blocks = nn.Sequential(
            *(
                DownResidual(before, after, halve=index < halvings, first=index == 0, wrap=spectral)
                for index, (before, after) in enumerate(pairwise(widths))
            )
        )
        self.channels = widths[-1]
        self.logit = spectral(_start_dense(nn.Linear(self.channels, 1)))

    def summary(self, images: Tensor) -> Tensor:
        """Return φ(x) (N, channels): the last block's output after ReLU, summed over all places."""
        return F.relu(cast("Tensor", self.blocks(images))).sum((2, 3))

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N,)."""
        return cast("Tensor", self.logit(self.summary(images)).flatten())

    def features(self, images: Tensor) -> list[Tensor]:
        """Return the output of each block."""
        maps = []
        for block in self.blocks:
            images = block(images)
            maps.append(images)
        return maps


def _start_dense(layer: nn.Module) -> nn.Module:
    assert isinstance(layer, nn.Linear)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
