"""Writing of images: grids, single images and animations, with metadata on how they were made."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from ganzoo.components.dataset import StoredImages
from ganzoo.components.spec import UnfitDataError
from ganzoo.data.decode import npy_header
from ganzoo.data.packed_dataset import real_images
from ganzoo.errors import RequestError
from ganzoo.storage.disk import write_atomic
from ganzoo.terminal import count_progress
from ganzoo.untrusted import PICTURE, open_file

GIF = "evolution.gif"
Bands = Sequence[int] | None
"""Channels to show: one as gray, three as RGB; None: gray, RGB and RGBA as they are, else the first three or one."""
LONGEST_CLASS = 50
"""Largest number of characters of a class in a file's name."""
REAL_POINTS = 10_000
BINS, PIXELS_PER_BIN = 128, 4
GRAY, BLUE = (0.45, 0.45, 0.45), (0.05, 0.25, 0.85)


def grid(images: Tensor, columns: int | None = None, bands: Bands = None) -> Tensor:
    """Arrange `images` (N, C, H, W) in [−1, 1] into one (C, H', W') in [0, 1], nearly square without `columns`."""
    from torchvision.utils import make_grid

    images = shown_bands(images, bands)
    columns = columns or math.ceil(math.sqrt(len(images)))
    picture: Tensor = make_grid(images, nrow=columns, normalize=True, value_range=(-1, 1), padding=2)
    return picture


def grid_beside(*groups: Tensor, bands: Bands = None) -> Tensor:
    """Arrange the first image of each group (N, C, H, W) side by side, then the second ones, …, as `grid` does.

    All are brought to the size of the second group, the outputs, and to three channels where groups have others;
    `bands` are those of the outputs, and of the groups that have as many channels.
    """
    from torchvision.transforms.functional import InterpolationMode, resize

    made = groups[1].shape[1]
    groups = tuple(shown_bands(group, bands if group.shape[1] == made else None) for group in groups)
    channels, size = {group.shape[1] for group in groups}, list(groups[1].shape[2:])
    if len(channels) > 1:
        groups = tuple(group[:, :3] if group.shape[1] >= 3 else group[:, :1].expand(-1, 3, -1, -1) for group in groups)
    images = torch.stack([resize(group, size, InterpolationMode.NEAREST) for group in groups], 1).flatten(0, 1)
    return grid(images, max(1, round(math.sqrt(len(images)) / len(groups))) * len(groups))


def shown_bands(images: Tensor, bands: Bands = None) -> Tensor:
    """Return the channels of `images` (N, C, H, W) that a picture shows: 1, 3 or, where there are 4, all of them.

    Raises:
        UnfitDataError: these are no images.
        RequestError: there is no such band.
    """
    if images.ndim != 4:
        each = " × ".join(map(str, images.shape[1:]))
        raise UnfitDataError(f"a grid needs images, and each sample is {each} numbers")
    channels = images.shape[1]
    if bands is None:
        return images if channels in (1, 3, 4) else images[:, : 3 if channels > 3 else 1]
    if max(bands) >= channels:
        raise RequestError(f"samples.bands: there is no band {max(bands)}: they are numbered from 0 to {channels - 1}")
    return images[:, list(bands)]


def real_points(packed: StoredImages) -> Tensor:
    """Return up to 10,000 evenly spaced vectors (M, D) of a dataset, to show samples over."""
    places = torch.linspace(0, len(packed) - 1, min(len(packed), REAL_POINTS), dtype=torch.float64)
    return real_images(packed, places.long())


def density_plot(points: Tensor, real: Tensor | None = None) -> Tensor:
    """Draw points (N, 2) in blue over the real ones (M, 2) in gray as a picture (3, H, W) in [0, 1].

    Colors are the stronger the more points there are. Both axes have one scale and show all but the outermost of the
    real points, with a margin, so that pictures of a run compare; points beyond lie on the edge.
    """
    seen = points[points.isfinite().all(1)] if real is None else real
    if not len(seen):
        seen = torch.zeros(1, 2)
    low, high = seen.float().quantile(torch.tensor([0.005, 0.995]), 0)
    center, side = (low + high) / 2, max(1.3 * float((high - low).max()), 1e-6)
    picture = torch.ones(3, BINS, BINS)
    for drawn, color in ((real, GRAY), (points, BLUE)):
        if drawn is None:
            continue
        drawn = drawn[drawn.isfinite().all(1)].float()
        columns, rows = ((drawn - center) / side + 0.5).mul(BINS).floor().clamp(0, BINS - 1).long().T
        counts = torch.bincount((BINS - 1 - rows) * BINS + columns, minlength=BINS**2).view(BINS, BINS)
        strength = torch.where(counts > 0, 0.25 + 0.75 * (counts / counts.max().clamp(1)).sqrt(), 0.0)
        picture = picture.lerp(torch.tensor(color)[:, None, None].expand_as(picture), strength)
    return picture.repeat_interleave(PIXELS_PER_BIN, 1).repeat_interleave(PIXELS_PER_BIN, 2)


def has_picture(shape: Sequence[int]) -> bool:
    """Return whether samples of this shape can be drawn: images (C, H, W) and points (2,)."""
    return len(shape) == 3 or tuple(shape) == (2,)


def picture_of(samples: Tensor, real: Callable[[], Tensor | None], bands: Bands = None) -> Tensor | None:
    """Return a picture (C, H', W') in [0, 1] of samples: images in a grid, points of two dimensions by density.

    Args:
        samples: images (N, C, H, W) in [−1, 1], or vectors (N, D), of which only those of two numbers have a picture.
        real: gives the points to draw them over, where they are points; None: none.
        bands: channels to show.
    """
    if not has_picture(samples.shape[1:]):
        return None
    return grid(samples, bands=bands) if samples.ndim == 4 else density_plot(samples, real())


def save_array(samples: Tensor, path: Path) -> None:
    """Write samples as they are, all channels, as a .npy file of float32, atomically.

    Raises:
        OutputError: it cannot be written.
    """

    def write(partial: Path) -> None:
        array = np.ascontiguousarray(samples.float().numpy())
        with partial.open("wb") as file:  # NumPy would not say why it cannot write
            file.write(npy_header(array.shape, array.dtype))
            file.write(array.data)

    write_atomic(path, write)


def save_tensors(tensors: Mapping[str, Tensor], path: Path, *, about: Mapping[str, object] | None = None) -> None:
    """Write tensors as a .safetensors file, atomically, with `about` as its metadata.

    Raises:
        OutputError: it cannot be written.
    """
    from safetensors.torch import save_file

    plain = {name: tensor.contiguous() for name, tensor in tensors.items()}
    metadata = {key: str(value) for key, value in (about or {}).items()}
    write_atomic(path, lambda partial: save_file(plain, partial, metadata=metadata))


def save_single_images(
    images: Tensor,
    folder: Path,
    names: Sequence[str] | None = None,
    *,
    classes: Sequence[str] | None = None,
    bands: Bands = None,
    about: Mapping[str, object] | None = None,
) -> None:
    """Write each of `images` (N, C, H, W) in [−1, 1] as `folder/NAME.png`; without names `0000.png`, `0001.png`, ….

    With the name of the class of each they are `NAME_CLASS.png`, and the class is among the text chunks.

    Raises:
        OutputError: one cannot be written.
    """
    images = shown_bands(images, bands)
    digits = max(4, len(str(len(images) - 1)))
    names = names or [f"{index:0{digits}d}" for index in range(len(images))]
    with count_progress(what="writing images", only_if_slow=True) as progress:
        for index, (name, image) in enumerate(zip(names, (images / 2 + 0.5).clamp(0, 1), strict=True)):
            own = {} if classes is None else {"class": classes[index]}
            ending = "".join("_" + re.sub(r"[^\w.-]+", "-", each)[:LONGEST_CLASS] for each in own.values())
            save_picture(image, folder / f"{name}{ending}.png", about={**(about or {}), **own})
            progress(index + 1, len(images))


def save_gif(
    frames: Sequence[Image.Image],
    path: Path,
    *,
    milliseconds: int | list[int] = 100,
    about: Mapping[str, object] | None = None,
) -> None:
    """Write images of one size as an endlessly looping GIF, atomically, with `about` as its comment.

    Args:
        frames: each gets a palette of its own unless it has one.
        path: ends in .gif.
        milliseconds: how long each is shown, or one number for all.
        about: how the images were made.

    Raises:
        OutputError: it cannot be written.
    """
    comment = "\n".join(f"ganzoo:{name} {value}" for name, value in (about or {}).items())
    first, *rest = (frame if frame.mode == "P" else frame.quantize(256) for frame in frames)
    options: dict[str, object] = {"duration": milliseconds, "comment": comment.encode(errors="backslashreplace")}
    write_atomic(path, lambda partial: first.save(partial, "GIF", save_all=True, append_images=rest, loop=0, **options))


def save_picture(picture: Tensor | Image.Image, path: Path, *, about: Mapping[str, object] | None = None) -> None:
    """Write a picture, PIL's or (C, H, W) in [0, 1], as a PNG, atomically, with `about` as text chunks.

    Raises:
        OutputError: it cannot be written.
    """
    text = PngInfo()
    for name, value in (about or {}).items():
        # A path may hold what is no text.
        text.add_text(f"ganzoo:{name}", str(value).encode(errors="backslashreplace").decode())
    image = as_image(picture) if isinstance(picture, Tensor) else picture
    write_atomic(path, lambda partial: image.save(partial, format="PNG", pnginfo=text))


def as_image(picture: Tensor) -> Image.Image:
    """Return a picture (C, H, W) in [0, 1] as PIL has it."""
    from torchvision.transforms.functional import to_pil_image

    image: Image.Image = to_pil_image(picture.mul(255).round().byte())
    return image


@contextmanager
def open_picture(path: Path, form: Literal["PNG", "GIF"]) -> Iterator[Image.Image]:
    """Open a picture of a run, as this format alone: for some others PIL runs programs.

    Raises:
        Exception: of many kinds, as PIL raises them: it is no such picture, or a damaged or too large one.
    """
    with open_file(path, PICTURE) as file, Image.open(file, formats=[form]) as picture:
        yield picture


def grids(folder: Path) -> list[Path]:
    """Return the sample grids of a run, ordered by step."""
    return sorted((path for path in folder.glob("step_*.png") if re.fullmatch(r"step_\d+", path.stem)), key=grid_step)


def grid_step(path: Path) -> int:
    """Return the step of a sample grid from its file name."""
    return int(path.stem.removeprefix("step_"))
