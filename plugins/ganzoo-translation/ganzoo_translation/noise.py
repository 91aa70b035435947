"""Dropout that follows from latents, so that a sample is the same wherever and with whichever others it is made."""

from __future__ import annotations

import torch
from torch import Tensor, nn

PRIME = 2**31 - 1
"""x⁵ permutes the numbers below it, and their products fit into int64 on every device."""


class LatentDropout(nn.Module):
    """Dropout whose units are chosen by a number for each sample rather than by random numbers of its own.

    Args:
        rate: share of the units that become 0; the others are divided by what is left.
        place: number of this layer in its network, so that no two choose alike.
    """

    def __init__(self, rate: float, place: int) -> None:
        super().__init__()
        self.rate = rate
        self.place = place

    def forward(self, maps: Tensor, latents: Tensor) -> Tensor:
        """Return maps (N, …) with units dropped by latents (N, 1)."""
        return maps * (self.kept(maps, latents) / (1 - self.rate)).to(maps.dtype)

    def kept(self, maps: Tensor, latents: Tensor) -> Tensor:
        """Return which units of maps (N, …) are kept: 1, or 0 for those that are dropped."""
        seeds = (latents.detach().float() * 2**20).round().long()
        seeds = fifth_power((seeds * 48_271 + 7_919 * self.place) % PRIME)
        units = torch.arange(maps[0].numel(), device=maps.device)
        numbers = fifth_power(fifth_power((seeds + units * 16_807) % PRIME) + 104_729)
        return (numbers >= round(self.rate * PRIME)).reshape(maps.shape).float()


def fifth_power(numbers: Tensor) -> Tensor:
    """Return x⁵ modulo `PRIME`, of whole numbers up to a little above it."""
    numbers = numbers % PRIME
    square = numbers * numbers % PRIME
    return square * square % PRIME * numbers % PRIME
