"""The discriminator of pix2pix and CycleGAN as their PyTorch code builds it, with the defaults of 70×70 patches."""

from __future__ import annotations

from torch import nn


def discriminator(channels: int, f: int = 64, *, instance: bool = False) -> nn.Sequential:
    """Images of any size to a map of logits: 30×30 at 256 pixels."""
    norm = nn.InstanceNorm2d if instance else nn.BatchNorm2d
    return nn.Sequential(
        nn.Conv2d(channels, f, kernel_size=4, stride=2, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(f, f * 2, kernel_size=4, stride=2, padding=1, bias=instance),
        norm(f * 2),
        nn.LeakyReLU(0.2),
        nn.Conv2d(f * 2, f * 4, kernel_size=4, stride=2, padding=1, bias=instance),
        norm(f * 4),
        nn.LeakyReLU(0.2),
        nn.Conv2d(f * 4, f * 8, kernel_size=4, stride=1, padding=1, bias=instance),
        norm(f * 8),
        nn.LeakyReLU(0.2),
        nn.Conv2d(f * 8, 1, kernel_size=4, stride=1, padding=1),
    )
