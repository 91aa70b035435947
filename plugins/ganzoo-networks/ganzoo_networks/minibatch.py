"""Minibatch standard deviation, by which a discriminator can detect mode collapse."""

from __future__ import annotations

import torch
from torch import Tensor, nn

EPSILON = 1e-8


class MinibatchStdDev(nn.Module):
    """Appends one channel with the standard deviation within a group of images (ProGAN, arXiv 1710.10196 §3).

    The standard deviation of each feature at each place over a group, averaged over features and places. Image i is
    grouped with those i + M, i + 2M, …, where M is the number of groups.

    Args:
        group: images in a group, as the paper's code has 4; the largest divisor of the batch up to this is taken.
    """

    def __init__(self, group: int = 4) -> None:
        super().__init__()
        self.group = group

    def forward(self, images: Tensor) -> Tensor:
        """Return (N, C + 1, H, W) for (N, C, H, W)."""
        count, channels, height, width = images.shape
        size = next(size for size in range(min(self.group, count), 0, -1) if count % size == 0)
        groups = images.reshape(size, count // size, channels, height, width)
        variance = groups.float().var(0, correction=0)
        # The gradient of √ at 0 is infinite, and a group of equal images would give NaN.
        deviation = (variance + EPSILON).sqrt().mean((1, 2, 3)).to(images.dtype)
        channel = deviation.repeat(size)[:, None, None, None].expand(-1, 1, height, width)
        return torch.cat([images, channel], 1)
