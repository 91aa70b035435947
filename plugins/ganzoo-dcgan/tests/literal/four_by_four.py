"""The 4×4 form of most PyTorch tutorials: 64 pixels, sigmoid at the end of the discriminator."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def generator(channels: int = 3, z_dim: int = 100, f: int = 64) -> nn.Sequential:
    """Latents (N, z_dim, 1, 1) to images of 64 pixels."""
    return nn.Sequential(
        nn.ConvTranspose2d(z_dim, f * 16, 4, 1, 0, bias=False),
        nn.BatchNorm2d(f * 16),
        nn.ReLU(),
        nn.ConvTranspose2d(f * 16, f * 8, 4, 2, 1, bias=False),
        nn.BatchNorm2d(f * 8),
        nn.ReLU(),
        nn.ConvTranspose2d(f * 8, f * 4, 4, 2, 1, bias=False),
        nn.BatchNorm2d(f * 4),
        nn.ReLU(),
        nn.ConvTranspose2d(f * 4, f * 2, 4, 2, 1, bias=False),
        nn.BatchNorm2d(f * 2),
        nn.ReLU(),
        nn.ConvTranspose2d(f * 2, channels, 4, 2, 1),
        nn.Tanh(),
    )


def discriminator(channels: int = 3, f: int = 64) -> nn.Sequential:
    """Images of 64 pixels to probabilities (N, 1, 1, 1)."""
    return nn.Sequential(
        nn.Conv2d(channels, f, 4, 2, 1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(f, f * 2, 4, 2, 1, bias=False),
        nn.BatchNorm2d(f * 2),
        nn.LeakyReLU(0.2),
        nn.Conv2d(f * 2, f * 4, 4, 2, 1, bias=False),
        nn.BatchNorm2d(f * 4),
        nn.LeakyReLU(0.2),
        nn.Conv2d(f * 4, f * 8, 4, 2, 1, bias=False),
        nn.BatchNorm2d(f * 8),
        nn.LeakyReLU(0.2),
        nn.Conv2d(f * 8, 1, 4, 2, 0),
        nn.Sigmoid(),
    )


def train_step(
    gen: nn.Module,
    disc: nn.Module,
    gen_adam: torch.optim.Optimizer,
    disc_adam: torch.optim.Optimizer,
    real: Tensor,
    noise: Tensor,
) -> None:
    """Discriminator, then generator through the same graph: log D(x) + log(1 − D(G(z))), then log D(G(z))."""
    bce = nn.BCELoss()
    fake = gen(noise[:, :, None, None])
    on_real = disc(real).flatten()
    on_fake = disc(fake).flatten()
    loss = (bce(on_real, torch.ones_like(on_real)) + bce(on_fake, torch.zeros_like(on_fake))) / 2
    disc.zero_grad()
    loss.backward(retain_graph=True)
    disc_adam.step()
    again = disc(fake).flatten()
    gen.zero_grad()
    bce(again, torch.ones_like(again)).backward()
    gen_adam.step()
