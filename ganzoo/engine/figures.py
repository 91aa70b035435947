"""Pictures of several groups of images with words beside them, as the figures of a paper have them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ganzoo.engine.pictures import save_gif, save_picture

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


def save_film(frames: Sequence[Panel], path: Path, *, about: Mapping[str, object] | None = None) -> None:
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
