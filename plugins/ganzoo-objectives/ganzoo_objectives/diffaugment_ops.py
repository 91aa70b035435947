"""Differentiable random transformations of images: DiffAugment's three policies."""

from __future__ import annotations

import torch
from torch import Tensor

from ganzoo_objectives.configs import AugmentConfig


def augment(
    images: Tensor, rng: torch.Generator, config: AugmentConfig, probability: Tensor | float | None = None
) -> Tensor:
    """Apply the policies of `config` to images (N, C, H, W), each image with its own parameters.

    Args:
        images: in [−1, 1].
        rng: on the device of the images; as much is drawn from it at any `probability`.
        config: which policies, and how strong.
        probability: a number or scalar; with it each policy is applied to each image; default: always.
    """
    for policy in config.policies:
        if policy == "color":
            changed = color(images, rng)
        elif policy == "translation":
            changed = translation(images, rng, config.translation)
        else:
            changed = cutout(images, rng, config.cutout)
        images = changed if probability is None else torch.where(_uniform(images, rng) < probability, changed, images)
    return images


def color(images: Tensor, rng: torch.Generator) -> Tensor:
    """Vary brightness by ±½, saturation by 0 to 2, contrast by ½ to 1½; values may leave [−1, 1].

    Saturation is about the mean of an image's channels at a pixel, contrast about its mean over all.
    """
    images = images + _uniform(images, rng) - 0.5
    gray = images.mean(1, keepdim=True)
    images = torch.lerp(gray, images, 2 * _uniform(images, rng))
    mean = images.mean((1, 2, 3), keepdim=True)
    return torch.lerp(mean, images, 0.5 + _uniform(images, rng))


def translation(images: Tensor, rng: torch.Generator, ratio: float) -> Tensor:
    """Shift each image by whole pixels, up to `ratio` of its height and width, rounded, and fill with 0."""
    for dim in (2, 3):
        size = images.shape[dim]
        reach = int(size * ratio + 0.5)
        shift = torch.randint(-reach, reach + 1, (len(images), 1), generator=rng, device=images.device)
        source = torch.arange(size, device=images.device) - shift
        # Turning round instead of clamping takes no pixel twice, so that the gradient is the same at every run.
        where = _along(source % size, dim).expand(images.shape)
        images = images.gather(dim, where) * _along((source >= 0) & (source < size), dim)
    return images


def cutout(images: Tensor, rng: torch.Generator, ratio: float) -> Tensor:
    """Set a rectangle of `ratio` of height and width to 0 in each image, around a random point in it."""
    hole = torch.ones((), dtype=torch.bool, device=images.device)
    for dim in (2, 3):
        size = images.shape[dim]
        side = int(size * ratio + 0.5)
        center = torch.randint(0, size + 1 - side % 2, (len(images), 1), generator=rng, device=images.device)
        offset = torch.arange(size, device=images.device) - (center - side // 2)
        hole = hole & _along((offset >= 0) & (offset < side), dim)
    return images * ~hole


def _uniform(images: Tensor, rng: torch.Generator) -> Tensor:
    """Draw one number in [0, 1) for each image, (N, 1, 1, 1)."""
    return torch.rand(len(images), 1, 1, 1, generator=rng, device=images.device, dtype=images.dtype)


def _along(values: Tensor, dim: int) -> Tensor:
    """Reshape (N, size) to (N, 1, H, 1) or (N, 1, 1, W)."""
    return values[:, None, :, None] if dim == 2 else values[:, None, None, :]
