"""Writing of images: grids, single images, captioned figures and animations, with metadata on how they were made."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from ganzoo.storage.disk import write_atomic

GAP = 2
PANEL_GAP = 12
LINE_HEIGHT = 14
MIN_SIZE = 48
"""Images smaller than this many pixels are enlarged by a whole factor, to be legible with their captions."""
BACKGROUND, FOREGROUND = (255, 255, 255), (0, 0, 0)


@dataclass(frozen=True)
class Panel:
    """A group of images in rows.

    Attributes:
        images: (N, C, H, W) in [−1, 1], C 1 or 3, row by row.
        columns: images in a row.
        title: printed above; Latin-1, which the built-in font has.
        captions: printed below each image; as many as there are images, or none.
    """

    images: Tensor
    columns: int
    title: str = ""
    captions: Sequence[str] = ()


def draw(panels: Sequence[Panel]) -> Image.Image:
    """Draw the panels side by side into one RGB image."""
    headroom = LINE_HEIGHT if any(panel.title for panel in panels) else 0
    drawn = [_draw_panel(panel) for panel in panels]
    widths = [max(picture.width, _width(panel.title)) for panel, picture in zip(panels, drawn, strict=True)]
    height = headroom + max(picture.height for picture in drawn)
    figure = Image.new("RGB", (sum(widths) + PANEL_GAP * (len(panels) - 1), height), BACKGROUND)
    left = 0
    for panel, picture, width in zip(panels, drawn, widths, strict=True):
        ImageDraw.Draw(figure).text((left + GAP, 1), panel.title, FOREGROUND, ImageFont.load_default())
        figure.paste(picture, (left, headroom))
        left += width + PANEL_GAP
    return figure


def save_figure(panels: Sequence[Panel], path: Path, *, about: Mapping[str, object] | None = None) -> None:
    """Write the panels side by side as a PNG, atomically, with `about` as text chunks.

    Raises:
        OutputError: it cannot be written.
    """
    save_png(draw(panels), path, about=about)


def save_animation(frames: Sequence[Panel], path: Path, *, about: Mapping[str, object] | None = None) -> None:
    """Write the frames as an endlessly looping GIF, atomically.

    Raises:
        OutputError: it cannot be written.
    """
    save_gif([draw([frame]) for frame in frames], path, about=about)


def _draw_panel(panel: Panel) -> Image.Image:
    from torchvision.transforms.functional import to_pil_image

    count, _, height, width = panel.images.shape
    assert not panel.captions or len(panel.captions) == count
    scale = max(1, math.ceil(MIN_SIZE / max(height, width)))
    cell = width * scale + GAP, height * scale + GAP + (LINE_HEIGHT if panel.captions else 0)
    rows = math.ceil(count / panel.columns)
    picture = Image.new("RGB", (min(count, panel.columns) * cell[0] + GAP, rows * cell[1] + GAP), BACKGROUND)
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default()
    for index, image in enumerate((panel.images.float() / 2 + 0.5).clamp(0, 1)):
        row, column = divmod(index, panel.columns)
        place = column * cell[0] + GAP, row * cell[1] + GAP
        tile = to_pil_image(image.mul(255).round().byte())
        picture.paste(tile.resize((width * scale, height * scale), Image.Resampling.NEAREST).convert("RGB"), place)
        if panel.captions:
            pen.text((place[0] + 1, place[1] + height * scale), panel.captions[index], FOREGROUND, font)
    return picture


def _width(text: str) -> int:
    return math.ceil(ImageFont.load_default().getlength(text)) + 2 * GAP


def grid(images: Tensor, columns: int | None = None) -> Tensor:
    """Arrange `images` (N, C, H, W) in [−1, 1] into one (C, H', W') in [0, 1], nearly square without `columns`."""
    from torchvision.utils import make_grid

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


GIF = "evolution.gif"


def grids(folder: Path) -> list[Path]:
    """Return the sample grids of a run, ordered by step."""
    return sorted((path for path in folder.glob("step_*.png") if re.fullmatch(r"step_\d+", path.stem)), key=grid_step)


def grid_step(path: Path) -> int:
    """Return the step of a sample grid from its file name."""
    return int(path.stem.removeprefix("step_"))
