"""The transformations of ADA's pipeline (arXiv 2006.06676, appendix B), as matrices that images are resampled by.

A matrix of geometry (N, 3, 3) leads from places in the result to places in the source, (x, y, 1) in pixels from the
center; a matrix of colors (N, 4, 4) from channels (r, g, b, 1) to new ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

SHIFT = 0.125
"""Largest shift by whole pixels, and deviation of that by fractions, as a share of a side."""
SCALE_STD = 0.2
"""Deviation of log₂ of scale and stretch."""
BRIGHTNESS_STD, CONTRAST_STD, SATURATION_STD = 0.2, 0.5, 1.0
LOW_PASS = (
    *(0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633),
    *(0.4910559419267466, 0.787641141030194, 0.3379294217276218, -0.07263752278646252),
    *(-0.021060292512300564, 0.04472490177066578, 0.0017677118642428036, -0.007800708325034148),
)
"""The wavelet sym6, by which images are doubled for resampling and halved after it; both together change nothing."""
HALO = len(LOW_PASS) // 2
"""Pixels beyond each edge that the filters reach."""
OFFSET = sum(place * tap for place, tap in enumerate(LOW_PASS)) / sum(LOW_PASS)
"""The filter's center, in taps, at low frequencies: it is not quite symmetric."""
EDGE = HALO / 2
"""Places up to so many pixels beyond an edge are filtered there; those beyond are mirrored."""


class Choices:
    """Random numbers for `count` images, of which each transformation is applied with a probability.

    Args:
        count: of images.
        probability: a scalar on the device.
        rng: on the device; as much is drawn from it at any probability.
    """

    def __init__(self, count: int, probability: Tensor, rng: torch.Generator) -> None:
        self.count, self.probability, self._rng = count, probability, rng

    def uniform(self, columns: int = 1) -> Tensor:
        """Draw numbers (N, columns) in [0, 1)."""
        return torch.rand(self.count, columns, generator=self._rng, device=self._rng.device)

    def normal(self, columns: int = 1) -> Tensor:
        """Draw numbers (N, columns) from N(0, 1)."""
        return torch.randn(self.count, columns, generator=self._rng, device=self._rng.device)

    def apply(self, values: Tensor, neutral: float, probability: Tensor | None = None) -> Tensor:
        """Return `values` (N, columns), in images where the transformation is not applied `neutral`."""
        probability = self.probability if probability is None else probability
        return torch.where(self.uniform() < probability, values, neutral)


def identity(size: int, count: int, device: torch.device) -> Tensor:
    """Return matrices (count, size, size) that change nothing."""
    return torch.eye(size, device=device).expand(count, -1, -1)


def is_identity(matrix: Tensor) -> Tensor:
    """Return, as (N, 1, 1, 1), which matrices of geometry change nothing."""
    return (matrix == torch.eye(3, device=matrix.device)).all(2).all(1)[:, None, None, None]


def moved(matrix: Tensor, choose: Choices, size: Sequence[int]) -> Tensor:
    """Add what moves pixels as they are: mirrored, turned by quarters, shifted by whole pixels."""
    height, width = size
    mirror = choose.apply(choose.uniform().mul(2).floor(), 0.0)
    matrix = matrix @ scaling(1 - 2 * mirror, torch.ones_like(mirror))
    quarters = choose.apply(choose.uniform().mul(4).floor(), 0.0)
    matrix = matrix @ rotation(quarters * (math.pi / 2))
    shift = choose.apply((choose.uniform(2) * 2 - 1) * SHIFT, 0.0)
    return matrix @ translation((shift[:, :1] * width).round(), (shift[:, 1:] * height).round())


def warped(matrix: Tensor, choose: Choices, size: Sequence[int]) -> Tensor:
    """Add the general geometry: scale, rotation before and after a stretch, and a shift by fractions of a pixel."""
    height, width = size
    scale = choose.apply((choose.normal() * SCALE_STD).exp2(), 1.0)
    matrix = matrix @ scaling(1 / scale, 1 / scale)
    either = 1 - (1 - choose.probability).clamp(0, 1).sqrt()  # so that one of the two has the probability
    matrix = matrix @ rotation(choose.apply((choose.uniform() * 2 - 1) * math.pi, 0.0, either))
    stretch = choose.apply((choose.normal() * SCALE_STD).exp2(), 1.0)
    matrix = matrix @ scaling(1 / stretch, stretch)
    matrix = matrix @ rotation(choose.apply((choose.uniform() * 2 - 1) * math.pi, 0.0, either))
    shift = choose.apply(choose.normal(2) * SHIFT, 0.0)
    return matrix @ translation(shift[:, :1] * width, shift[:, 1:] * height)


def colors(matrix: Tensor, choose: Choices) -> Tensor:
    """Add the changes of color: brightness, contrast, mirrored luma, hue and saturation."""
    unit, three = torch.eye(4, device=matrix.device), torch.eye(3, device=matrix.device)
    gray, other = (F.pad(part, (0, 1, 0, 1)) for part in (torch.full_like(three, 1 / 3), three - 1 / 3))
    cross = F.pad(three.roll(1, 0) - three.roll(-1, 0), (0, 1, 0, 1)) / math.sqrt(3)
    offset = F.pad(torch.ones(3, 1, device=matrix.device), (3, 0, 0, 1))

    brightness = choose.apply(choose.normal() * BRIGHTNESS_STD, 0.0)
    matrix = (unit + offset * brightness[..., None]) @ matrix
    contrast = choose.apply((choose.normal() * CONTRAST_STD).exp2(), 1.0)
    matrix = (unit + (gray + other) * (contrast[..., None] - 1)) @ matrix
    flip = choose.apply(choose.uniform().mul(2).floor(), 0.0)
    matrix = (unit - 2 * gray * flip[..., None]) @ matrix
    hue = choose.apply((choose.uniform() * 2 - 1) * math.pi, 0.0)[..., None]
    matrix = (unit + other * (hue.cos() - 1) + cross * hue.sin()) @ matrix  # Rodrigues' formula, about gray
    saturation = choose.apply((choose.normal() * SATURATION_STD).exp2(), 1.0)
    return (unit + other * (saturation[..., None] - 1)) @ matrix


def scaling(horizontal: Tensor, vertical: Tensor) -> Tensor:
    """Return matrices (N, 3, 3) that multiply x and y by columns (N, 1)."""
    return torch.cat([horizontal, vertical, torch.ones_like(vertical)], 1).diag_embed()


def rotation(angles: Tensor) -> Tensor:
    """Return matrices (N, 3, 3) that turn by angles (N, 1)."""
    cosine, sine, zero = angles.cos(), angles.sin(), torch.zeros_like(angles)
    return torch.cat([cosine, -sine, zero, sine, cosine, zero, zero, zero, zero + 1], 1).view(-1, 3, 3)


def translation(right: Tensor, down: Tensor) -> Tensor:
    """Return matrices (N, 3, 3) that show what lies `right` and `down` pixels (N, 1) from there."""
    one, zero = torch.ones_like(right), torch.zeros_like(right)
    return torch.cat([one, zero, -right, zero, one, -down, zero, zero, one], 1).view(-1, 3, 3)


def recolor(images: Tensor, matrix: Tensor) -> Tensor:
    """Return images (N, C, H, W), gray or of three channels, with colors changed by (N, 4, 4)."""
    if images.shape[1] == 1:
        row = matrix[:, :3].mean(1)
        return images * row[:, :3].sum(1)[:, None, None, None] + row[:, 3][:, None, None, None]
    product = torch.einsum("nij,njhw->nihw", matrix[:, :3, :3], images)
    return product + matrix[:, :3, 3][..., None, None]


def move(images: Tensor, matrix: Tensor) -> Tensor:
    """Return images (N, C, H, W) as a matrix (N, 3, 3) that leads from pixels to pixels has them, mirrored at edges."""
    height, width = images.shape[2:]
    rows, columns = (torch.arange(size, device=images.device) for size in (height, width))
    x, y = _sources(matrix, rows, columns, height, width)
    index = _mirrored(y.round(), height) * width + _mirrored(x.round(), width)
    return images.flatten(2).gather(2, index.long().flatten(1)[:, None].expand(-1, images.shape[1], -1)).view_as(images)


def resample(images: Tensor, matrix: Tensor, low_pass: Tensor) -> Tensor:
    """Return images (N, C, H, W) as a matrix (N, 3, 3) has them, mirrored at edges; H and W exceed `HALO`.

    Between pixels it interpolates linearly at twice the resolution, with the orthogonal filter `low_pass` (12,) before
    and after, so that little is aliased. The gradient can be differentiated again.
    """
    count, channels, height, width = images.shape
    padded = F.pad(images, [HALO] * 4, mode="reflect").reshape(count * channels, 1, height + 2 * HALO, width + 2 * HALO)
    doubled = F.conv_transpose2d(padded, low_pass.view(1, 1, -1, 1) * math.sqrt(2), stride=(2, 1))
    doubled = F.conv_transpose2d(doubled, low_pass.view(1, 1, 1, -1) * math.sqrt(2), stride=(1, 2))
    doubled = doubled.reshape(count, channels, *doubled.shape[2:])

    # Row or column k of `doubled`, and of what is halved after it, is (k − OFFSET) / 2 pixels from the first.
    rows, columns = (
        (torch.arange(2 * size + len(LOW_PASS) - 2, device=images.device) - OFFSET) / 2 for size in (height, width)
    )
    places = [
        ((_within_edges(place, size) + HALO) * 2 + OFFSET) * (2 / (extent - 1)) - 1
        for place, size, extent in zip(
            _sources(matrix, rows, columns, height, width), (width, height), doubled.shape[:1:-1], strict=True
        )
    ]
    found: Tensor = _Interpolated.apply(doubled, torch.stack(places, -1))

    found = found.reshape(count * channels, 1, *found.shape[2:])
    found = F.conv2d(found, low_pass.view(1, 1, -1, 1) / math.sqrt(2), stride=(2, 1))
    found = F.conv2d(found, low_pass.view(1, 1, 1, -1) / math.sqrt(2), stride=(1, 2))
    return found.reshape(images.shape)


def _sources(matrix: Tensor, rows: Tensor, columns: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return x and y (N, rows, columns) in the source, in pixels, for rows and columns of the result."""
    y, x = torch.meshgrid(rows - (height - 1) / 2, columns - (width - 1) / 2, indexing="ij")
    m = matrix[..., None, None]
    right = m[:, 0, 0] * x + m[:, 0, 1] * y + m[:, 0, 2] + (width - 1) / 2
    return right, m[:, 1, 0] * x + m[:, 1, 1] * y + m[:, 1, 2] + (height - 1) / 2


def _mirrored(places: Tensor, size: int) -> Tensor:
    """Return places within a side of the image, mirrored at the centers of its outermost pixels."""
    return (size - 1) - (places.remainder(2 * (size - 1)) - (size - 1)).abs()


def _within_edges(places: Tensor, size: int) -> Tensor:
    """Return places mirrored where they are beyond what is filtered."""
    beyond = (places < -EDGE) | (places > size - 1 + EDGE)
    return torch.where(beyond, _mirrored(places, size), places)


class _Interpolated(torch.autograd.Function):
    """Bilinear interpolation at fixed places, which unlike torch's can be differentiated twice."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, grid: Tensor) -> Tensor:
        ctx.save_for_backward(grid)
        ctx.shape = images.shape
        return F.grid_sample(images, grid, align_corners=True)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (grid,) = ctx.saved_tensors
        return cast("Tensor", _Spread.apply(gradient, grid, ctx.shape)), None


class _Spread(torch.autograd.Function):
    """The transpose of `_Interpolated`."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, grid: Tensor, shape: torch.Size) -> Tensor:
        ctx.save_for_backward(grid)
        like = gradient.new_empty(shape)
        spread: Tensor = torch.ops.aten.grid_sampler_2d_backward(gradient, like, grid, 0, 0, True, (True, False))[0]
        return spread

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (grid,) = ctx.saved_tensors
        return cast("Tensor", _Interpolated.apply(gradient, grid)), None, None
