"""PatchGAN: a discriminator that judges overlapping patches of an image (pix2pix, arXiv 1611.07004, §3.2.2)."""

from __future__ import annotations

from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from ganzoo.plugin import DatasetInfo
from ganzoo_dcgan.blocks import NORMS, DownBlock, NormFactory, init_weights, leaky_relu
from ganzoo_dcgan.configs import PatchGANDiscriminatorConfig
from ganzoo_dcgan.stacks import StackedDiscriminator

PATCH_NORMS: dict[str, NormFactory | None] = {**NORMS, "instance": nn.InstanceNorm2d}
"""Instance norm has no gains and biases here, as in CycleGAN."""


def has_bias(norm: str) -> bool:
    """Return whether convolutions before one of `PATCH_NORMS` have a bias: those of batch and layer norm do it."""
    return norm in ("instance", "none")


class PatchGANDiscriminator(StackedDiscriminator):
    """C64-C128-C256 of stride 2, C512 of stride 1 and a convolution to one logit for each patch of 70×70 pixels."""

    Config = PatchGANDiscriminatorConfig

    def __init__(self, config: PatchGANDiscriminatorConfig, *, info: DatasetInfo) -> None:
        widths = [config.width * min(2**power, 8) for power in range(config.depth + 1)]
        activation = leaky_relu(config.slope)
        channels = info.image.channels
        if config.conditional and info.condition is not None:
            channels += info.condition.shape[0]
        blocks = [
            DownBlock(channels, widths[0], bias=True, norm=None, activation=activation),
            *(
                DownBlock(
                    before,
                    after,
                    stride=1 if last else 2,
                    bias=has_bias(config.norm),
                    norm=PATCH_NORMS[config.norm],
                    activation=activation,
                )
                for last, (before, after) in zip([False] * (config.depth - 1) + [True], pairwise(widths), strict=True)
            ),
        ]
        head = DownBlock(widths[-1], 1, stride=1, bias=True, norm=None, activation=None)
        super().__init__(config, info=info, blocks=blocks, head=head)
        init_weights(self, **config.init.model_dump())

    def forward(self, images: Tensor, *, condition: Tensor | None = None) -> Tensor:
        """Return a map of logits (N, 1, H', W'), one for each patch."""
        return cast("Tensor", self.head(self.blocks(self._beside(images, condition))))

    def features(self, images: Tensor, *, condition: Tensor | None = None) -> list[Tensor]:
        """Return the output of each block; an unknown condition is gray, 0."""
        return super().features(self._beside(images, condition))

    def _beside(self, images: Tensor, condition: Tensor | None) -> Tensor:
        if not self.uses:
            return images
        if condition is None:
            assert self.info.condition is not None
            condition = images.new_zeros(len(images), *self.info.condition.shape)
        return torch.cat([condition, images], 1)
