"""Enlarging images and cropping them at random, as pix2pix and CycleGAN do with those they train on."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ganzoo.plugin import Batch, GANTrainer


def random_places(trainer: GANTrainer, batch: Batch, count: int) -> Tensor:
    """Draw numbers (N, count) in [0, 1) for the samples of a step, by the parts of which each process has a share."""
    draws = []
    for part in batch.split(trainer.config.batches_per_step * trainer.micro_batches):
        with trainer.sharded_rng(part):
            draws.append(torch.rand(len(part), count, generator=trainer.parts.rng, device=trainer.parts.rng.device))
    return torch.cat(draws)


def enlarged_and_cropped(images: Tensor, factor: float, places: Tensor) -> Tensor:
    """Return images (N, C, H, W) cut to their own size out of themselves `factor` times as large.

    Args:
        images: in [−1, 1].
        factor: 1 or more.
        places: (N, 2) in [0, 1), of each image's crop, down and right.
    """
    sides = images.shape[2:]
    large = F.interpolate(images, [round(side * factor) for side in sides], mode="bicubic", align_corners=False)
    rows, columns = (
        (place * (bound - side + 1)).long()[:, None] + torch.arange(side, device=images.device)
        for place, bound, side in zip(places.unbind(1), large.shape[2:], sides, strict=True)
    )
    number = torch.arange(len(images), device=images.device)[:, None, None]
    return large[number, :, rows[:, :, None], columns[:, None]].permute(0, 3, 1, 2).clamp(-1, 1)
