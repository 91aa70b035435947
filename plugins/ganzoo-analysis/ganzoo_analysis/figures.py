"""Captioned figures: panels of images in rows, side by side or one after the other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torchvision.transforms.functional import to_pil_image

from ganzoo.sampling.image_io import save_gif, save_picture, shown_bands

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
        images: (N, C, H, W) in [−1, 1], row by row.
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
    save_picture(draw(panels), path, about=about)


def save_animation(frames: Sequence[Panel], path: Path, *, about: Mapping[str, object] | None = None) -> None:
    """Write the frames as an endlessly looping GIF, atomically.

    Raises:
        OutputError: it cannot be written.
    """
    save_gif([draw([frame]) for frame in frames], path, about=about)


def _draw_panel(panel: Panel) -> Image.Image:
    count, _, height, width = panel.images.shape
    assert not panel.captions or len(panel.captions) == count
    scale = max(1, math.ceil(MIN_SIZE / max(height, width)))
    cell = width * scale + GAP, height * scale + GAP + (LINE_HEIGHT if panel.captions else 0)
    rows = math.ceil(count / panel.columns)
    picture = Image.new("RGB", (min(count, panel.columns) * cell[0] + GAP, rows * cell[1] + GAP), BACKGROUND)
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default()
    for index, image in enumerate((shown_bands(panel.images).float() / 2 + 0.5).clamp(0, 1)):
        row, column = divmod(index, panel.columns)
        place = column * cell[0] + GAP, row * cell[1] + GAP
        tile = to_pil_image(image.mul(255).round().byte())
        picture.paste(tile.resize((width * scale, height * scale), Image.Resampling.NEAREST).convert("RGB"), place)
        if panel.captions:
            pen.text((place[0] + 1, place[1] + height * scale), panel.captions[index], FOREGROUND, font)
    return picture


def _width(text: str) -> int:
    return math.ceil(ImageFont.load_default().getlength(text)) + 2 * GAP
