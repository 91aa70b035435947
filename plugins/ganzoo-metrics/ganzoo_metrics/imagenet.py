"""What torchvision's classifiers take."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation of ImageNet's pixels, by which all of torchvision's classifiers normalize."""


class ImageNetInput(nn.Module):
    """Images made RGB, resized to a square without a crop, and normalized for ImageNet.

    Args:
        size: side of the square in pixels; None leaves the size as it is.
        antialias: whether to average over the pixels between where that shrinks them.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, size: int | None, *, antialias: bool = False) -> None:
        super().__init__()
        self.size, self.antialias = size, antialias
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(DEVIATION).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return (N, 3, size, size) for images (N, 1 or 3, H, W) in [−1, 1]."""
        pixels = (images.expand(-1, 3, -1, -1) + 1) / 2
        if self.size is not None and pixels.shape[2:] != (self.size, self.size):
            pixels = F.interpolate(pixels, [self.size] * 2, mode="bilinear", antialias=self.antialias)
        return (pixels - self.mean) / self.deviation
