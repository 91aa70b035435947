"""FastGAN's layers: convolutions with spectral norm, noise, excitation, and blocks that double or halve."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


def convolution(before: int, after: int, size: int, **options: Any) -> nn.Module:
    """Return a convolution with spectral norm, without bias unless `options` say otherwise."""
    return spectral_norm(nn.Conv2d(before, after, size, **{"bias": False, **options}))


def batch_norm(channels: int) -> nn.BatchNorm2d:
    """Return a batch norm whose gains start from N(1, 0.02)."""
    norm = nn.BatchNorm2d(channels)
    nn.init.normal_(norm.weight, 1.0, 0.02)
    return norm


class GLU(nn.Module):
    """Gated linear unit over channels (arXiv 1612.08083): the first half times the sigmoid of the second.

    The gradient of torch's own lies in memory as NCHW, which makes batch norm before it slow on channels-last images.
    """

    def forward(self, maps: Tensor) -> Tensor:
        """Return (N, C / 2, H, W) for (N, C, H, W)."""
        values, gates = maps.chunk(2, 1)
        return values * gates.sigmoid()


class Noise(nn.Module):
    """Adds one noise image to all channels in training, with a strength that is learnt from 0 on."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, maps: Tensor) -> Tensor:
        """Return maps (N, C, H, W) with noise, without in evaluation."""
        if not self.training:
            return maps
        noise = torch.randn(len(maps), 1, *maps.shape[2:], device=maps.device, dtype=maps.dtype)
        return maps + self.weight * noise


class Excitation(nn.Module):
    """Skip-layer excitation (§3.1): scales the channels of a large feature map by what a small one says."""

    def __init__(self, small: int, large: int) -> None:
        super().__init__()
        self.gains = nn.Sequential(
            nn.AdaptiveAvgPool2d(4),
            convolution(small, large, 4),
            nn.SiLU(),
            convolution(large, large, 1),
            nn.Sigmoid(),
        )

    def forward(self, small: Tensor, large: Tensor) -> Tensor:
        """Return `large` (N, C, H, W), each channel multiplied by its gain."""
        return large * cast("Tensor", self.gains(small))


def up_block(before: int, after: int, *, twice: bool = False, noise: bool = False) -> nn.Sequential:
    """Double the size: nearest, 3×3, norm, GLU; `twice` adds a second 3×3, and noise after both where `noise`."""
    layers: list[nn.Module] = [nn.Upsample(scale_factor=2, mode="nearest")]
    for channels in (before, after) if twice else (before,):
        layers.append(convolution(channels, 2 * after, 3, padding=1))
        if twice and noise:
            layers.append(Noise())
        layers += [batch_norm(2 * after), GLU()]
    return nn.Sequential(*layers)


def leaky() -> nn.Module:
    """Return FastGAN's rectifier."""
    return nn.LeakyReLU(0.2)


def halving(before: int, after: int) -> list[nn.Module]:
    """Return the layers that halve the size: 4×4 of stride 2, norm, LeakyReLU."""
    return [convolution(before, after, 4, stride=2, padding=1), batch_norm(after), leaky()]


class DownBlock(nn.Module):
    """Halves the size on two ways, by convolutions and by a pooling, and takes their mean."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            *halving(before, after), convolution(after, after, 3, padding=1), batch_norm(after), leaky()
        )
        self.direct = nn.Sequential(nn.AvgPool2d(2), convolution(before, after, 1), batch_norm(after), leaky())

    def forward(self, maps: Tensor) -> Tensor:
        """Return maps (N, after, H / 2, W / 2)."""
        return cast("Tensor", (self.main(maps) + self.direct(maps)) / 2)
