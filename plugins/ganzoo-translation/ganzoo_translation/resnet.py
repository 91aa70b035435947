"""The generator of CycleGAN (arXiv 1703.10593, §7.2), after Johnson et al. (arXiv 1603.08155)."""

from __future__ import annotations

from typing import cast

from ganzoo_dcgan.blocks import DownBlock, NormFactory, UpBlock, init_weights, layers, relu
from ganzoo_dcgan.patchgan import PATCH_NORMS, has_bias
from torch import Tensor, nn

from ganzoo.plugin import DatasetInfo, Generator
from ganzoo_translation.configs import ResNetTranslatorConfig

LARGE = 256
"""Least size of images that get nine blocks."""


class ResNetTranslator(Generator):
    """A 7×7 convolution, two of stride 2, residual blocks, two transposed ones, and a 7×7 convolution.

    Computes what the authors' code does; that has no dropout here by default either.
    """

    Config = ResNetTranslatorConfig
    config: ResNetTranslatorConfig

    def __init__(self, config: ResNetTranslatorConfig, *, info: DatasetInfo) -> None:
        super().__init__(config, info=info)
        assert info.condition is not None
        width, norm, bias = config.width, PATCH_NORMS[config.norm], has_bias(config.norm)
        count = config.blocks or (9 if min(info.image.height, info.image.width) >= LARGE else 6)
        self.blocks = nn.Sequential(
            *layers(reflected(info.condition.shape[0], width, 7, bias=bias), width, norm, relu, None),
            DownBlock(width, 2 * width, kernel_size=3, bias=bias, norm=norm, activation=relu),
            DownBlock(2 * width, 4 * width, kernel_size=3, bias=bias, norm=norm, activation=relu),
            *(Residual(4 * width, norm, bias=bias) for _ in range(count)),
            UpBlock(4 * width, 2 * width, kernel_size=3, bias=bias, norm=norm),
            UpBlock(2 * width, width, kernel_size=3, bias=bias, norm=norm),
            reflected(width, info.image.channels, 7, bias=True),
            nn.Tanh(),
        )
        init_weights(self, **config.init.model_dump())

    def forward(self, latents: Tensor, *, condition: Tensor) -> Tensor:
        """Return images (N, C, H, W) for latents (N, 0) and conditions (N, C', H, W)."""
        return cast("Tensor", self.blocks(condition))


class Residual(nn.Module):
    """Two 3×3 convolutions, each with its norm, the first with a ReLU, beside the input (N, C, H, W).

    Args:
        channels: of input and output.
        norm: makes the normalization; None for none.
        bias: whether the convolutions have one.
    """

    def __init__(self, channels: int, norm: NormFactory | None, *, bias: bool) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *layers(reflected(channels, channels, 3, bias=bias), channels, norm, relu, None),
            *layers(reflected(channels, channels, 3, bias=bias), channels, norm, None, None),
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Return maps of the same shape."""
        return cast("Tensor", maps + self.layers(maps))


def reflected(before: int, after: int, kernel_size: int, *, bias: bool) -> nn.Conv2d:
    """Return a convolution that keeps the size, over an image continued by its reflection."""
    return nn.Conv2d(before, after, kernel_size, padding=kernel_size // 2, padding_mode="reflect", bias=bias)
