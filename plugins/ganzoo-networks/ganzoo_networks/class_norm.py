"""Batch norm with a gain and a bias for each class."""

from __future__ import annotations

from torch import Tensor, nn


class ClassBatchNorm2d(nn.Module):
    """Conditional batch norm (arXiv 1610.07629, 1707.00683), as cGANs with projection use it (arXiv 1802.05637).

    Args:
        channels: of the images.
        num_classes: each has gains of 1 and biases of 0 at the start.
    """

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.gain = nn.Embedding(num_classes, channels)
        self.bias = nn.Embedding(num_classes, channels)
        nn.init.ones_(self.gain.weight)
        nn.init.zeros_(self.bias.weight)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return (N, C, H, W) for images (N, C, H, W) and class indices (N,)."""
        gain, bias = self.gain(labels), self.bias(labels)
        result: Tensor = self.norm(images) * gain[:, :, None, None] + bias[:, :, None, None]
        return result


def normalize(norm: nn.Module, images: Tensor, labels: Tensor | None) -> Tensor:
    """Apply `norm` to images (N, C, H, W), with the labels if it is class-conditional."""
    result: Tensor = norm(images, labels) if isinstance(norm, ClassBatchNorm2d) else norm(images)
    return result
