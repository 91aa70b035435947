"""Images to files: a grid in one PNG, a PNG each, or a film; all say how they were made."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from ganzoo.engine.files import write_atomic


def grid(images: Tensor, columns: int | None = None) -> Tensor:
    """One image (C, H', W') in [0, 1] of `images` (N, C, H, W) in [−1, 1], nearly square unless `columns` says."""
    from torchvision.utils import make_grid

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


def save_picture(picture: Image.Image, path: Path, *, about: Mapping[str, object] | None = None) -> None:
    """Write a picture as a PNG, atomically, with how it was made as text in it.

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
    """Write pictures of one size as an animated GIF without end, atomically, with how it was made as its comment.

    Raises:
        OutputError: it cannot be written.
    """
    comment = "\n".join(f"ganzoo:{name} {value}" for name, value in (about or {}).items()).encode()
    write_atomic(path, lambda partial: write_gif(frames, partial, [frame_ms] * len(frames), comment))


def write_gif(frames: Sequence[Image.Image], target: Path, durations: Sequence[int], comment: bytes = b"") -> None:
    """Write pictures of one size, each shown for so many milliseconds and in a palette of its own, as a GIF.

    Raises:
        OSError: it cannot be written.
    """
    first, *rest = (frame if frame.mode == "P" else frame.quantize(256) for frame in frames)
    first.save(
        target, format="GIF", save_all=True, append_images=rest, duration=list(durations), loop=0, comment=comment
    )


def _save(image: Tensor, path: Path, about: Mapping[str, object]) -> None:
    from torchvision.transforms.functional import to_pil_image

    save_picture(to_pil_image(image.mul(255).round().byte()), path, about=about)
