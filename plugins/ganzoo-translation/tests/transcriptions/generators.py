"""U-Net and ResNet as the authors' PyTorch code nests them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class SkipBlock(nn.Module):
    """One level of the U-Net with those inside it; `dropout` makes a layer."""

    def __init__(
        self,
        outer: int,
        inner: int,
        channels: int | None = None,
        inside: nn.Module | None = None,
        *,
        outermost: bool = False,
        norm: Any,
        bias: bool,
        dropout: Callable[[], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.outermost = outermost
        channels = outer if channels is None else channels
        down = nn.Conv2d(channels, inner, kernel_size=4, stride=2, padding=1, bias=bias)
        if outermost:
            up = nn.ConvTranspose2d(inner * 2, outer, kernel_size=4, stride=2, padding=1)
            layers = [down, inside, nn.ReLU(), up, nn.Tanh()]
        elif inside is None:
            up = nn.ConvTranspose2d(inner, outer, kernel_size=4, stride=2, padding=1, bias=bias)
            layers = [nn.LeakyReLU(0.2), down, nn.ReLU(), up, norm(outer)]
        else:
            up = nn.ConvTranspose2d(inner * 2, outer, kernel_size=4, stride=2, padding=1, bias=bias)
            layers = [nn.LeakyReLU(0.2), down, norm(inner), inside, nn.ReLU(), up, norm(outer)]
            if dropout is not None:
                layers.append(dropout())
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        if self.outermost:
            return self.model(x)
        return torch.cat([x, self.model(x)], 1)


def unet(
    channels: int, out: int, levels: int, f: int = 64, *, norm: Any, dropout: Callable[[], nn.Module] | None
) -> nn.Module:
    """U-Net of 5 levels or more, built from the innermost outwards."""
    bias = norm is nn.InstanceNorm2d
    block = SkipBlock(f * 8, f * 8, norm=norm, bias=bias)
    for _ in range(levels - 5):
        block = SkipBlock(f * 8, f * 8, inside=block, norm=norm, bias=bias, dropout=dropout)
    block = SkipBlock(f * 4, f * 8, inside=block, norm=norm, bias=bias)
    block = SkipBlock(f * 2, f * 4, inside=block, norm=norm, bias=bias)
    block = SkipBlock(f, f * 2, inside=block, norm=norm, bias=bias)
    return SkipBlock(out, f, channels=channels, inside=block, outermost=True, norm=norm, bias=bias)


class ResidualBlock(nn.Module):
    """Two convolutions over reflected borders."""

    def __init__(self, width: int, norm: Any, bias: bool) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(width, width, kernel_size=3, padding=0, bias=bias),
            norm(width),
            nn.ReLU(True),
            nn.ReflectionPad2d(1),
            nn.Conv2d(width, width, kernel_size=3, padding=0, bias=bias),
            norm(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_block(x)


def resnet(channels: int, out: int, f: int = 64, *, norm: Any, blocks: int) -> nn.Sequential:
    """The ResNet generator."""
    bias = norm is nn.InstanceNorm2d
    model = [
        nn.ReflectionPad2d(3),
        nn.Conv2d(channels, f, kernel_size=7, padding=0, bias=bias),
        norm(f),
        nn.ReLU(True),
    ]
    for factor in (1, 2):
        model += [
            nn.Conv2d(f * factor, f * factor * 2, kernel_size=3, stride=2, padding=1, bias=bias),
            norm(f * factor * 2),
            nn.ReLU(True),
        ]
    model += [ResidualBlock(f * 4, norm, bias) for _ in range(blocks)]
    for factor in (4, 2):
        model += [
            nn.ConvTranspose2d(
                f * factor, f * factor // 2, kernel_size=3, stride=2, padding=1, output_padding=1, bias=bias
            ),
            norm(f * factor // 2),
            nn.ReLU(True),
        ]
    model += [nn.ReflectionPad2d(3), nn.Conv2d(f, out, kernel_size=7, padding=0), nn.Tanh()]
    return nn.Sequential(*model)
