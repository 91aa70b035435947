"""Pictures and animations of runs as data URIs of limited size."""

from __future__ import annotations

import base64
import io
from contextlib import suppress
from dataclasses import dataclass

from markupsafe import Markup
from PIL import Image, ImageSequence

from ganzoo.comparison.collect import RunRecord
from ganzoo.sampling.image_io import GIF, grid_step, grids

PICTURE_BYTES = 400_000
PICTURE_SIDE = 900
ANIMATION_BYTES = 1_500_000
ANIMATION_SIDES = (512, 384, 256, 160)
FRAMES = 24
LARGEST_PIXELS = 64_000_000
"""Largest number of pixels of a file that is opened; no picture of samples has more."""


@dataclass(frozen=True)
class Picture:
    """A picture of a run, to embed in a page.

    Attributes:
        address: a data URI.
        step: of the samples; None for an animation.
        width: in pixels, as it is shown at its own size.
        height: likewise.
    """

    address: Markup
    step: int | None
    width: int
    height: int


def last_grid(run: RunRecord) -> Picture | None:
    """Return the newest readable grid of samples of a run."""
    for path in reversed(grids(run.path / "samples") if run.path else []):
        with suppress(Exception), Image.open(path, formats=["PNG"]) as opened:  # a damaged file raises any error
            _check(opened)
            if path.stat().st_size <= PICTURE_BYTES:
                return _embedded(path.read_bytes(), "png", grid_step(path), opened.size)
            picture = opened.convert("RGB")
            picture.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
            buffer = io.BytesIO()
            picture.save(buffer, "JPEG", quality=88)
            return _embedded(buffer.getvalue(), "jpeg", grid_step(path), picture.size)
    return None


def animation(run: RunRecord) -> Picture | None:
    """Return the animation of a run, scaled down and with fewer frames where it is too large to embed."""
    if run.path is None:
        return None
    path = run.path / "samples" / GIF
    with suppress(Exception), Image.open(path, formats=["GIF"]) as opened:
        _check(opened)
        if path.stat().st_size <= ANIMATION_BYTES:
            return _embedded(path.read_bytes(), "gif", None, opened.size)
        for side in ANIMATION_SIDES:
            content, size = _smaller(opened, side)
            if len(content) <= ANIMATION_BYTES:
                return _embedded(content, "gif", None, size)
    return None


def _check(opened: Image.Image) -> None:
    if opened.width * opened.height > LARGEST_PIXELS:
        raise ValueError(f"{opened.size} pixels")


def _smaller(opened: Image.Image, side: int) -> tuple[bytes, tuple[int, int]]:
    count = getattr(opened, "n_frames", 1)
    kept = {round(place * (count - 1) / max(1, FRAMES - 1)) for place in range(FRAMES)}
    frames, milliseconds = [], []
    for index, frame in enumerate(ImageSequence.Iterator(opened)):
        if index in kept:
            picture = frame.convert("RGB")
            picture.thumbnail((side, side))
            frames.append(picture.quantize(128))
            milliseconds.append(int(frame.info.get("duration", 200)))
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:], duration=milliseconds, loop=0)
    return buffer.getvalue(), frames[0].size


def _embedded(content: bytes, kind: str, step: int | None, size: tuple[int, int]) -> Picture:
    address = Markup(f"data:image/{kind};base64,{base64.b64encode(content).decode()}")  # noqa: S704
    return Picture(address, step, *size)
