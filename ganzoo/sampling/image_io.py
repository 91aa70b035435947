"""Images to files: grids, single images, figures with captions, animations; all say how they were made."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from ganzoo.storage.disk import write_atomic

GAP = 2
BETWEEN = 12
LINE = 14
LEGIBLE = 48
"""Images smaller than this many pixels are enlarged by a whole factor, so that they can be seen and numbered."""
PAPER, INK = (255, 255, 255), (0, 0, 0)


@dataclass(frozen=True)
class Panel:
    """A group of images in rows.

    Attributes:
        images: (N, C, H, W) in [−1, 1], C 1 or 3, in the order of rows.
        columns: how many a row.
        title: printed above; Latin-1, which the built-in font has.
        captions: printed below each image; as many as there are images, or none.
    """

    images: Tensor
    columns: int
    title: str = ""
    captions: Sequence[str] = ()


def draw(panels: Sequence[Panel]) -> Image.Image:
    """The panels side by side, as one RGB picture."""
    headroom = LINE if any(panel.title for panel in panels) else 0
    drawn = [_draw_panel(panel) for panel in panels]
    widths = [max(picture.width, _width(panel.title)) for panel, picture in zip(panels, drawn, strict=True)]
    height = headroom + max(picture.height for picture in drawn)
    figure = Image.new("RGB", (sum(widths) + BETWEEN * (len(panels) - 1), height), PAPER)
    left = 0
    for panel, picture, width in zip(panels, drawn, widths, strict=True):
        ImageDraw.Draw(figure).text((left + GAP, 1), panel.title, INK, ImageFont.load_default())
        figure.paste(picture, (left, headroom))
        left += width + BETWEEN
    return figure


def save_figure(panels: Sequence[Panel], path: Path, *, about: Mapping[str, object] | None = None) -> None:
    """Write the panels side by side as a PNG, atomically, with how they were made as text in it.

    Raises:
        OutputError: it cannot be written.
    """
    save_picture(draw(panels), path, about=about)


def save_animation(frames: Sequence[Panel], path: Path, *, about: Mapping[str, object] | None = None) -> None:
    """Write one picture after the other as an animated GIF without end, atomically.

    Raises:
        OutputError: it cannot be written.
    """
    save_gif([draw([frame]) for frame in frames], path, about=about)


def _draw_panel(panel: Panel) -> Image.Image:
    from torchvision.transforms.functional import to_pil_image

    count, _, height, width = panel.images.shape
    assert not panel.captions or len(panel.captions) == count
    scale = max(1, math.ceil(LEGIBLE / max(height, width)))
    cell = width * scale + GAP, height * scale + GAP + (LINE if panel.captions else 0)
    rows = math.ceil(count / panel.columns)
    picture = Image.new("RGB", (min(count, panel.columns) * cell[0] + GAP, rows * cell[1] + GAP), PAPER)
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default()
    for index, image in enumerate((panel.images.float() / 2 + 0.5).clamp(0, 1)):
        row, column = divmod(index, panel.columns)
        place = column * cell[0] + GAP, row * cell[1] + GAP
        tile = to_pil_image(image.mul(255).round().byte())
        picture.paste(tile.resize((width * scale, height * scale), Image.Resampling.NEAREST).convert("RGB"), place)
        if panel.captions:
            pen.text((place[0] + 1, place[1] + height * scale), panel.captions[index], INK, font)
    return picture


def _width(text: str) -> int:
    return math.ceil(ImageFont.load_default().getlength(text)) + 2 * GAP


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


GIF = "evolution.gif"


def grids(folder: Path) -> list[Path]:
    """The grids of a run, in the order of their steps."""
    return sorted((path for path in folder.glob("step_*.png") if re.fullmatch(r"step_\d+", path.stem)), key=step_of)


def step_of(path: Path) -> int:
    """The step that a grid was made at."""
    return int(path.stem.removeprefix("step_"))
