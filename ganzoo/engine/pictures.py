"""Images to files: a grid in one PNG, or a PNG each."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torchvision.utils import make_grid, save_image

from ganzoo.engine.files import write_atomic


def grid(images: Tensor, columns: int | None = None) -> Tensor:
    """One image (C, H', W') in [0, 1] of `images` (N, C, H, W) in [−1, 1], nearly square unless `columns` says."""
    columns = columns or math.ceil(math.sqrt(len(images)))
    picture: Tensor = make_grid(images, nrow=columns, normalize=True, value_range=(-1, 1), padding=2)
    return picture


def save_grid(images: Tensor, path: Path, columns: int | None = None) -> None:
    """Write the grid of `images` (N, C, H, W) in [−1, 1] as a PNG, atomically.

    Raises:
        OutputError: it cannot be written.
    """
    picture = grid(images, columns)
    write_atomic(path, partial(save_image, picture, format="png"))


def save_single_images(images: Tensor, folder: Path) -> None:
    """Write each of `images` (N, C, H, W) in [−1, 1] as `folder/0000.png`, `0001.png`, ….

    Raises:
        OutputError: one cannot be written.
    """
    digits = max(4, len(str(len(images) - 1)))
    for index, image in enumerate(torch.clamp(images / 2 + 0.5, 0, 1)):
        write_atomic(folder / f"{index:0{digits}d}.png", partial(save_image, image, format="png"))
