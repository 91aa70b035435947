"""The comparison as one self-contained HTML page without scripts."""

from __future__ import annotations

import base64
import io
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from PIL import Image, ImageSequence

from ganzoo.comparison.comparison import Comparison
from ganzoo.comparison.curves import HEIGHT, WIDTH, chart, figures
from ganzoo.comparison.runs import RunRecord, Variant, options_in_common, shown
from ganzoo.comparison.scores import Score
from ganzoo.comparison.table import time_words
from ganzoo.evaluation.protocol import facts, noted
from ganzoo.sampling.image_io import GIF, grid_step, grids, open_picture
from ganzoo.storage.disk import write_text
from ganzoo.text import number, printable
from ganzoo.untrusted import read_bytes

HEADLINE = ("fid", "fd_", "kid", "precision", "recall")
"""Prefixes of the scores that the first table shows."""
HEADLINES = 3
COLORS = 8
"""Number of the page's colors; further variants reuse them with other dashes."""
CURVES = 6
"""Number of curves shown at first; the others are folded away."""
SEEDS = 3
"""Number of seeds whose samples are shown."""
MEDIA_BYTES = 30_000_000
"""Largest total size of a page's pictures and animations."""
PICTURE_BYTES = 400_000
PICTURE_SIDE = 900
ANIMATION_BYTES = 1_500_000
ANIMATION_SIDES = (512, 384, 256, 160)
FRAMES = 24
LARGEST_PIXELS = 64_000_000
"""Largest number of pixels of a file that is opened; no picture of samples has more."""
CLASSES = 500
"""Largest number of characters of the classes under a picture."""
TURNED = 5
"""Number of differing options from which on the table has a row for each option, not each variant."""


@dataclass(frozen=True)
class Picture:
    """A picture of a run as a data URI, the step of its samples (None for an animation), and its size in pixels.

    `classes` says which classes it shows in turn, where it does.
    """

    address: Markup
    step: int | None
    width: int
    height: int
    classes: str = ""


@dataclass
class Media:
    """Byte budget of the pictures in a page."""

    left: int
    omitted: int = 0

    def take(self, picture: Picture | None) -> Picture | None:
        """Return the picture if it fits into the budget, else None."""
        if picture and len(picture.address) > self.left:
            self.omitted += 1
            return None
        self.left -= len(picture.address) if picture else 0
        return picture


Shown = tuple[int, RunRecord, Picture | None]
"""A picture of one run, with the index of its variant."""


def write_page(comparison: Comparison, out: str | Path, title: str = "") -> Path:
    """Write the page and return its path.

    Raises:
        OutputError: it cannot be written.
    """
    path = Path(out)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, page(comparison, title))
    return path


def page(comparison: Comparison, title: str = "") -> str:
    """Render the page's HTML, with all text from files escaped, and no scripts or external addresses."""
    variants = comparison.variants
    media = Media(MEDIA_BYTES)
    names = [variant.name for variant in variants]
    charts = [chart(figure, names) for figure in figures(comparison)]
    environment = jinja2.Environment(
        autoescape=True,
        finalize=lambda value: printable(value) if type(value) is str else value,  # Markup is another type
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    template = environment.from_string(files("ganzoo.comparison").joinpath("page.html.j2").read_text("utf-8"))
    return template.render(
        title=printable(title) or comparison.title,
        version=version("ganzoo-core"),
        comparison=comparison,
        variants=variants,
        styles=[f"v{index % COLORS} d{(index + index // COLORS) % 4}" for index in range(len(variants))],
        width=WIDTH,
        height=HEIGHT,
        turned=len(comparison.differences) >= TURNED,
        common=options_in_common(variants),
        headlines=_headlines(comparison.scores),
        strips={score.name: _strips(score) for score in comparison.scores},
        charts=charts[:CURVES],
        more_charts=charts[CURVES:],
        samples=list(_samples(variants, media)),
        animations=[each for each in _row(map(_first, (v.runs for v in variants)), media, animation) if each[2]],
        media=media,
        protocols=list(_protocols(comparison.scores)),
        target=comparison.target,
        number=number,
        infinity=math.inf,
        shown=shown,
        time_words=time_words,
    )


def _headlines(scores: Sequence[Score]) -> list[Score]:
    """Return the scores that `HEADLINE` names, in its order; else the first."""
    wanted = [score for prefix in HEADLINE for score in scores if score.name.startswith(prefix)]
    return (list({score.name: score for score in wanted}.values()) or list(scores))[:HEADLINES]


def _strips(score: Score) -> list[list[float]]:
    """Return where each variant has its mean and its seeds, from 0 to 1 on an axis that all variants share."""
    everything = [value for each in score.variants for value in each.last.values]
    low, span = min(everything, default=0.0), max(everything, default=0.0) - min(everything, default=0.0)
    shown = [[each.last.mean, *each.last.values] if each.last else [] for each in score.variants]
    return [[(value - low) / span if span else 0.5 for value in values] for values in shown]


def _samples(variants: Sequence[Variant], media: Media) -> Iterator[tuple[str, list[Shown]]]:
    """Yield a row of grids for each seed that most variants have, or one of the first run of each."""
    seeds = [{run.seed for run in variant.runs if run.path and run.seed is not None} for variant in variants]
    count = Counter(seed for each in seeds for seed in each)
    most = max(count.values(), default=0)
    rows: dict[str, list[RunRecord | None]]
    if most < min(2, len(variants)):
        rows = {"the first run of each": [variant.runs[0] for variant in variants]}
    else:
        shared = sorted(seed for seed in count if count[seed] == most)
        rows = {
            f"seed {seed}": [_first(run for run in variant.runs if run.seed == seed) for variant in variants]
            for seed in shared[:SEEDS]
        }
    for what, runs in rows.items():
        row = _row(runs, media, last_grid)
        if any(picture for *_, picture in row):
            yield what, row


def _row(runs: Iterable[RunRecord | None], media: Media, find: Callable[[RunRecord], Picture | None]) -> list[Shown]:
    return [(index, run, media.take(find(run))) for index, run in enumerate(runs) if run]


def _first(runs: Iterable[RunRecord]) -> RunRecord | None:
    """Return the first complete run, else the first."""
    return min(runs, key=lambda run: not run.done, default=None)


def _protocols(scores: Sequence[Score]) -> Iterator[dict[str, Any]]:
    """Yield every card once, with its scores and the paths in which it differs from other cards of the same scores."""
    groups: dict[tuple[str, ...], list[Score]] = {}
    for score in scores:
        groups.setdefault(tuple(card.model_dump_json() for card, _ in score.protocols), []).append(score)
    for together in groups.values():
        found = [{printable(place): shown(value) for place, value in facts(card)} for card, _ in together[0].protocols]
        for (card, named), own in zip(together[0].protocols, found, strict=True):
            yield {
                "scores": [each.name for each in together],
                "variants": named,
                "facts": own,
                "noted": {place: shown(value) for place, value in noted(card).items() if value not in ("", {}, None)},
                "differing": {place for place in found[0] if len({each.get(place) for each in found}) > 1},
            }


def last_grid(run: RunRecord) -> Picture | None:
    """Return the newest readable grid of samples of a run."""
    for path in reversed(grids(run.path / "samples") if run.path else []):
        with suppress(Exception), open_picture(path, "PNG") as opened:  # a damaged file raises any error
            _check(opened)
            classes = printable(opened.info.get("ganzoo:classes", ""))[:CLASSES]
            if path.stat().st_size <= PICTURE_BYTES:
                return _embedded(read_bytes(path, PICTURE_BYTES), "png", grid_step(path), opened.size, classes)
            picture = opened.convert("RGB")
            picture.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
            buffer = io.BytesIO()
            picture.save(buffer, "JPEG", quality=88)
            return _embedded(buffer.getvalue(), "jpeg", grid_step(path), picture.size, classes)
    return None


def animation(run: RunRecord) -> Picture | None:
    """Return the animation of a run, scaled down and with fewer frames where it is too large to embed."""
    if run.path is None:
        return None
    path = run.path / "samples" / GIF
    with suppress(Exception), open_picture(path, "GIF") as opened:
        _check(opened)
        if path.stat().st_size <= ANIMATION_BYTES:
            return _embedded(read_bytes(path, ANIMATION_BYTES), "gif", None, opened.size)
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


def _embedded(content: bytes, kind: str, step: int | None, size: tuple[int, int], classes: str = "") -> Picture:
    address = Markup(f"data:image/{kind};base64,{base64.b64encode(content).decode()}")  # noqa: S704
    return Picture(address, step, *size, classes)
