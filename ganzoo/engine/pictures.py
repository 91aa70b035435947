"""Images to files: a grid in one PNG, or a PNG each, that say how they were made."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from PIL.PngImagePlugin import PngInfo
from torch import Tensor
from torchvision.transforms.functional import to_pil_image
from torchvision.utils import make_grid

from ganzoo.engine.files import write_atomic


def grid(images: Tensor, columns: int | None = None) -> Tensor:
    """One image (C, H', W') in [0, 1] of `images` (N, C, H, W) in [−1, 1], nearly square unless `columns` says."""
    columns = columns or math.ceil(math.sqrt(len(images)))
    picture: Tensor = make_grid(images, nrow=columns, normalize=True, value_range=(-1, 1), padding=2)
    return picture


def save_grid(
    images: Tensor, path: Path, columns: int | None = None, *, about: Mapping[str, object] | None = None
) -> None:
    """Write the grid of `images` (N, C, H, W) in [−1, 1] as a PNG, atomically.

    Args:
        images: in the order of rows.
        path: ends in .png.
        columns: left out: as many as make it nearly square.
        about: how the images were made, kept as text in the file.

    Raises:
        OutputError: it cannot be written.
    """
    _save(grid(images, columns), path, about or {})


def save_single_images(images: Tensor, folder: Path, *, about: Mapping[str, object] | None = None) -> None:
    """Write each of `images` (N, C, H, W) in [−1, 1] as `folder/0000.png`, `0001.png`, ….

    Raises:
        OutputError: one cannot be written.
    """
    digits = max(4, len(str(len(images) - 1)))
    for index, image in enumerate((images / 2 + 0.5).clamp(0, 1)):
        _save(image, folder / f"{index:0{digits}d}.png", about or {})


def _save(image: Tensor, path: Path, about: Mapping[str, object]) -> None:
    text = PngInfo()
    for name, value in about.items():
        text.add_text(f"ganzoo:{name}", str(value))
    picture = to_pil_image(image.mul(255).round().byte())
    write_atomic(path, lambda partial: picture.save(partial, format="PNG", pnginfo=text))
