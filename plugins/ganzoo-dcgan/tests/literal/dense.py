"""The form with a dense projection and 5×5 convolutions, all with biases, for any multiple of 16 pixels."""

from __future__ import annotations

from torch import nn


def generator(channels: int = 3, size: int = 64, z_dim: int = 100, f: int = 128) -> nn.Sequential:
    """Latents (N, z_dim) to images; nothing activates the projection."""
    start = size // 16
    return nn.Sequential(
        nn.Linear(z_dim, f * 8 * start * start),
        nn.Unflatten(1, (f * 8, start, start)),
        nn.BatchNorm2d(f * 8),
        nn.ConvTranspose2d(f * 8, f * 4, 5, 2, 2, output_padding=1),
        nn.BatchNorm2d(f * 4),
        nn.ReLU(),
        nn.ConvTranspose2d(f * 4, f * 2, 5, 2, 2, output_padding=1),
        nn.BatchNorm2d(f * 2),
        nn.ReLU(),
        nn.ConvTranspose2d(f * 2, f, 5, 2, 2, output_padding=1),
        nn.BatchNorm2d(f),
        nn.ReLU(),
        nn.ConvTranspose2d(f, channels, 5, 2, 2, output_padding=1),
        nn.Tanh(),
    )


def discriminator(channels: int = 3, size: int = 64, f: int = 128) -> nn.Sequential:
    """Images to probabilities (N, 1)."""
    return nn.Sequential(
        nn.Conv2d(channels, f, 5, 2, 2),
        nn.LeakyReLU(0.2),
        nn.Conv2d(f, f * 2, 5, 2, 2),
        nn.BatchNorm2d(f * 2),
        nn.LeakyReLU(0.2),
        nn.Conv2d(f * 2, f * 4, 5, 2, 2),
        nn.BatchNorm2d(f * 4),
        nn.LeakyReLU(0.2),
        nn.Conv2d(f * 4, f * 8, 5, 2, 2),
        nn.BatchNorm2d(f * 8),
        nn.LeakyReLU(0.2),
        nn.Flatten(),
        nn.Linear(f * 8 * (size // 16) ** 2, 1),
        nn.Sigmoid(),
    )
