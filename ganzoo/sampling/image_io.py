"""Writing of images: grids, single images and animations, with metadata on how they were made."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from ganzoo.components.spec import UnfitDataError
from ganzoo.storage.disk import write_atomic

GIF = "evolution.gif"


def grid(images: Tensor, columns: int | None = None) -> Tensor:
    """Arrange `images` (N, C, H, W) in [−1, 1] into one (C, H', W') in [0, 1], nearly square without `columns`."""
    from torchvision.utils import make_grid

    _check_shown(images)
    columns = columns or math.ceil(math.sqrt(len(images)))
    picture: Tensor = make_grid(images, nrow=columns, normalize=True, value_range=(-1, 1), padding=2)
    return picture


def grid_beside(*groups: Tensor) -> Tensor:
    """Arrange the first image of each group (N, C, H, W) side by side, then the second ones, …, as `grid` does.

    All are brought to the size of the second group, the outputs, and to three channels where groups have others.
    """
    from torchvision.transforms.functional import InterpolationMode, resize

    channels, size = {group.shape[1] for group in groups}, list(groups[1].shape[2:])
    if len(channels) > 1:
        groups = tuple(group[:, :3] if group.shape[1] >= 3 else group[:, :1].expand(-1, 3, -1, -1) for group in groups)
    images = torch.stack([resize(group, size, InterpolationMode.NEAREST) for group in groups], 1).flatten(0, 1)
    return grid(images, max(1, round(math.sqrt(len(images)) / len(groups))) * len(groups))


def _check_shown(images: Tensor) -> None:
    """Raise UnfitDataError unless these are images that a picture can show."""
    if images.ndim != 4 or images.shape[1] > 4:
        each = " × ".join(map(str, images.shape[1:]))
        raise UnfitDataError(f"a picture needs images of 1 to 4 channels, and each sample is {each} numbers")


def save_grid(
    images: Tensor, path: Path, columns: int | None = None, *, about: Mapping[str, object] | None = None
) -> None:
    """Write the grid of `images` (N, C, H, W) in [−1, 1] as a PNG, atomically.

    Args:
        images: row by row.
        path: ends in .png.
        columns: left out: as many as make it nearly square.
        about: how the images were made, written as text chunks.

    Raises:
        OutputError: it cannot be written.
    """
    save_picture(grid(images, columns), path, about=about)


def save_single_images(
    images: Tensor, folder: Path, names: Sequence[str] | None = None, *, about: Mapping[str, object] | None = None
) -> None:
    """Write each of `images` (N, C, H, W) in [−1, 1] as `folder/NAME.png`; without names `0000.png`, `0001.png`, ….

    Raises:
        OutputError: one cannot be written.
    """
    _check_shown(images)
    digits = max(4, len(str(len(images) - 1)))
    names = names or [f"{index:0{digits}d}" for index in range(len(images))]
    for name, image in zip(names, (images / 2 + 0.5).clamp(0, 1), strict=True):
        save_picture(image, folder / f"{name}.png", about=about)


def save_png(picture: Image.Image, path: Path, *, about: Mapping[str, object] | None = None) -> None:
    """Write an image as a PNG, atomically, with `about` as text chunks.

    Raises:
        OutputError: it cannot be written.
    """
    text = PngInfo()
    for name, value in (about or {}).items():
        text.add_text(f"ganzoo:{name}", str(value))
    write_atomic(path, lambda partial: picture.save(partial, format="PNG", pnginfo=text))


def save_gif(
    frames: Sequence[Image.Image], path: Path, *, frame_ms: int = 100, about: Mapping[str, object] | None = None
) -> None:
    """Write images of one size as an endlessly looping GIF, atomically, with `about` as its comment.

    Raises:
        OutputError: it cannot be written.
    """
    comment = "\n".join(f"ganzoo:{name} {value}" for name, value in (about or {}).items()).encode()
    write_atomic(path, lambda partial: write_gif(frames, partial, [frame_ms] * len(frames), comment))


def write_gif(frames: Sequence[Image.Image], target: Path, durations: Sequence[int], comment: bytes = b"") -> None:
    """Write images of one size as a GIF, each shown for its duration in milliseconds and with its own palette.

    Raises:
        OSError: it cannot be written.
    """
    first, *rest = (frame if frame.mode == "P" else frame.quantize(256) for frame in frames)
    first.save(
        target, format="GIF", save_all=True, append_images=rest, duration=list(durations), loop=0, comment=comment
    )


def save_picture(image: Tensor, path: Path, *, about: Mapping[str, object] | None = None) -> None:
    """Write an image (C, H, W) in [0, 1] as a PNG, atomically, with `about` as text chunks.

    Raises:
        OutputError: it cannot be written.
    """
    from torchvision.transforms.functional import to_pil_image

    save_png(to_pil_image(image.mul(255).round().byte()), path, about=about)


def grids(folder: Path) -> list[Path]:
    """Return the sample grids of a run, ordered by step."""
    return sorted((path for path in folder.glob("step_*.png") if re.fullmatch(r"step_\d+", path.stem)), key=grid_step)


def grid_step(path: Path) -> int:
    """Return the step of a sample grid from its file name."""
    return int(path.stem.removeprefix("step_"))
