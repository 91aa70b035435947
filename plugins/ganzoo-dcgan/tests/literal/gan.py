"""The plain GAN of "GANs in Action", ch. 3: one hidden layer of 128 units on either side."""

from __future__ import annotations

from torch import nn


def generator(z_dim: int = 100) -> nn.Sequential:
    """Latents (N, z_dim) to images (N, 1, 28, 28)."""
    return nn.Sequential(
        nn.Linear(z_dim, 128), nn.LeakyReLU(0.01), nn.Linear(128, 784), nn.Tanh(), nn.Unflatten(1, (1, 28, 28))
    )


def discriminator() -> nn.Sequential:
    """Images (N, 1, 28, 28) to probabilities (N, 1)."""
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.LeakyReLU(0.01), nn.Linear(128, 1), nn.Sigmoid())
