"""Resampling of images by a filter."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

TAPS = (1.0, 3.0, 3.0, 1.0)
"""The filter in each direction before it is normalized: bilinear interpolation, [1, 2, 1], as a kernel of stride 2."""


class Resample(nn.Module):
    """Filtering of images by [1, 3, 3, 1] in each direction, also at half or twice their size; beyond the edge lies 0.

    As a depthwise convolution it takes a fraction of the time that interpolation, pooling or slices do on a CPU, and
    unlike interpolation its backward pass on a GPU repeats to the bit.
    """

    kernel: Tensor

    def __init__(self) -> None:
        super().__init__()
        taps = torch.tensor(TAPS)
        self.register_buffer("kernel", torch.outer(taps, taps) / taps.sum() ** 2, persistent=False)

    def blur(self, images: Tensor, padding: int, *, gain: float = 1.0, stride: int = 1) -> Tensor:
        """Return filtered images (N, C, H + 2 · padding − 3, …) times `gain`, every `stride`-th pixel of them."""
        return F.conv2d(images, self._each(images, gain), stride=stride, padding=padding, groups=images.shape[1])

    def halved(self, images: Tensor) -> Tensor:
        """Return images (N, C, H/2, W/2), by the transpose of `doubled`, a mean."""
        return self.blur(images, 1, stride=2)

    def doubled(self, images: Tensor) -> Tensor:
        """Return images (N, C, 2H, 2W), by bilinear interpolation."""
        return F.conv_transpose2d(images, self._each(images, 4.0), stride=2, padding=1, groups=images.shape[1])

    def _each(self, images: Tensor, gain: float) -> Tensor:
        return (self.kernel * gain).to(images.dtype).expand(images.shape[1], 1, -1, -1)


class Upsample(Resample):
    """A layer that doubles height and width."""

    def forward(self, images: Tensor) -> Tensor:
        """Return (N, C, 2H, 2W) for (N, C, H, W)."""
        return self.doubled(images)


class Downsample(Resample):
    """A layer that halves height and width."""

    def forward(self, images: Tensor) -> Tensor:
        """Return (N, C, H/2, W/2) for (N, C, H, W)."""
        return self.halved(images)
