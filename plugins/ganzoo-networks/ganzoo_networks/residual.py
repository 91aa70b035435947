"""The residual blocks of SNGAN's ResNets (arXiv 1802.05957, appendix B.4) as plain modules."""

from __future__ import annotations

import math

from ganzoo_dcgan.blocks import NormFactory, Wrap
from torch import Tensor, nn
from torch.nn import functional as F

from ganzoo_networks.class_norm import normalize


def convolution(before: int, after: int, size: int, *, gain: float, wrap: Wrap | None) -> nn.Module:
    """Return a convolution that keeps height and width, with Glorot-uniform weights times `gain` and biases of 0."""
    layer = nn.Conv2d(before, after, size, padding=size // 2)
    nn.init.xavier_uniform_(layer.weight, gain)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return wrap(layer) if wrap else layer


class UpResidual(nn.Module):
    """Norm, ReLU, doubling, 3×3, norm, ReLU, 3×3, beside a doubling and 1×1: (N, in, H, W) → (N, out, 2H, 2W).

    Args:
        in_channels: of the input.
        out_channels: of the output.
        norm: makes the normalization for a number of channels; `ClassBatchNorm2d` with its classes fixed is one.
        wrap: applied to each convolution.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, norm: NormFactory = nn.BatchNorm2d, wrap: Wrap | None = None
    ) -> None:
        super().__init__()
        self.norm1 = norm(in_channels)
        self.convolution1 = convolution(in_channels, out_channels, 3, gain=math.sqrt(2), wrap=wrap)
        self.norm2 = norm(out_channels)
        self.convolution2 = convolution(out_channels, out_channels, 3, gain=math.sqrt(2), wrap=wrap)
        self.shortcut = convolution(in_channels, out_channels, 1, gain=1.0, wrap=wrap)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return (N, out, 2H, 2W) for (N, in, H, W), and class indices (N,) where the norm needs them."""
        inner = self.convolution1(_double(F.relu(normalize(self.norm1, images, labels))))
        inner = self.convolution2(F.relu(normalize(self.norm2, inner, labels)))
        # Of what is only copied, 1×1 may be taken before as well as after, at a quarter of the cost.
        result: Tensor = inner + _double(self.shortcut(images))
        return result


class DownResidual(nn.Module):
    """ReLU, 3×3, ReLU, 3×3, halving, beside 1×1 and a halving: (N, in, H, W) → (N, out, H/2, W/2).

    Args:
        in_channels: of the input.
        out_channels: of the output.
        halve: by an average over 2×2 pixels; without, and with as many channels as before, nothing is
            convolved beside.
        first: leave the first ReLU out, and halve the input before its 1×1: the block that gets the image.
        wrap: applied to each convolution, as spectral norm is in the paper.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, halve: bool = True, first: bool = False, wrap: Wrap | None = None
    ) -> None:
        super().__init__()
        hidden = out_channels if first else in_channels
        self.halve = halve
        self.first = first
        self.convolution1 = convolution(in_channels, hidden, 3, gain=math.sqrt(2), wrap=wrap)
        self.convolution2 = convolution(hidden, out_channels, 3, gain=math.sqrt(2), wrap=wrap)
        straight = in_channels == out_channels and not halve
        self.shortcut = None if straight else convolution(in_channels, out_channels, 1, gain=1.0, wrap=wrap)

    def forward(self, images: Tensor) -> Tensor:
        """Return (N, out, H/2, W/2) for (N, in, H, W); the same height and width without `halve`."""
        inner = images if self.first else F.relu(images)
        inner = self.convolution2(F.relu(self.convolution1(inner)))
        beside = images
        if self.halve:
            # The mean of 2×2 pixels and a 1×1 convolution may change places; the mean first is cheaper.
            inner, beside = F.avg_pool2d(inner, 2), F.avg_pool2d(beside, 2)
        result: Tensor = inner + (self.shortcut(beside) if self.shortcut else beside)
        return result


def _double(images: Tensor) -> Tensor:
    return F.interpolate(images, scale_factor=2.0, mode="nearest")
