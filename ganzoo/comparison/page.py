"""The comparison as one self-contained HTML page without scripts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from ganzoo.comparison import svg
from ganzoo.comparison.collect import RunRecord, clean, flatten_whole
from ganzoo.comparison.comparison import Comparison, seconds, speed
from ganzoo.comparison.curves import figures
from ganzoo.comparison.media import Picture, animation, last_grid
from ganzoo.comparison.scores import Score
from ganzoo.comparison.table import time_words
from ganzoo.comparison.variants import Variant, options_in_common, shown
from ganzoo.evaluation.protocol import Card, noted
from ganzoo.storage.disk import write_text

HEADLINE = ("fid", "fd_", "kid", "precision", "recall")
"""Prefixes of the scores that the first table shows."""
HEADLINES = 3
CURVES = 6
"""Number of curves shown at first; the others are folded away."""
SEEDS = 3
"""Number of seeds whose samples are shown."""
MEDIA_BYTES = 30_000_000
"""Largest total size of a page's pictures and animations."""
NAMED = 3
"""Largest number of names in a title."""
TURNED = 5
"""Number of differing options from which on the table has a row for each option, not each variant."""


@dataclass
class Media:
    """Byte budget of the pictures in a page."""

    left: int
    omitted: int = 0

    def take(self, picture: Picture | None) -> Picture | None:
        """Return the picture if it fits into the budget, else None."""
        if picture is None:
            return None
        if picture.size > self.left:
            self.omitted += 1
            return None
        self.left -= picture.size
        return picture


@dataclass(frozen=True)
class Shown:
    """A picture of one run.

    Attributes:
        variant: its index.
        run: whose picture it is.
        picture: None where there is none.
        count: images in it.
    """

    variant: int
    run: RunRecord
    picture: Picture | None
    count: Any


@dataclass(frozen=True)
class Protocol:
    """A protocol card, with the scores taken under it.

    Attributes:
        scores: their names.
        variants: those scored under it; empty for all.
        facts: what has to be the same, by dotted path.
        noted: what may differ, by dotted path.
        differing: paths in which it differs from other cards of the same scores.
    """

    scores: list[str]
    variants: list[str]
    facts: Mapping[str, str]
    noted: Mapping[str, str]
    differing: set[str] = field(default_factory=set)


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
    samples = list(_samples(variants, media))
    animations = [
        each for each in (_animation(index, variant, media) for index, variant in enumerate(variants)) if each
    ]
    found = figures(comparison)
    charts = [(figure.name, svg.chart(figure, [variant.name for variant in variants])) for figure in found]
    template = _environment().from_string(files("ganzoo.comparison").joinpath("page.html.j2").read_text("utf-8"))
    return template.render(
        title=clean(title) or default_title(comparison),
        version=version("ganzoo-core"),
        comparison=comparison,
        variants=variants,
        styles=[svg.style(index) for index in range(len(variants))],
        turned=len(comparison.differences) >= TURNED,
        common=options_in_common(variants),
        headlines=_headlines(comparison.scores),
        speeds=[(time_words(seconds(variant)), speed(variant)) for variant in variants],
        strips={score.name: _strips(score) for score in comparison.scores},
        charts=charts[:CURVES],
        more_charts=charts[CURVES:],
        samples=samples,
        animations=animations,
        omitted=media.omitted,
        protocols=_protocols(comparison.scores),
        shown=shown,
    )


def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        autoescape=True,
        finalize=lambda value: clean(value) if type(value) is str else value,  # Markup is another type
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )


def default_title(comparison: Comparison) -> str:
    """Return a title of the components in which the recipes differ, else the options, else the variants' names."""
    keys = [option.key for option in comparison.differences]
    keys = [key for key in keys if key.endswith(".name")] or keys
    words = keys if 0 < len(keys) <= NAMED else [variant.name for variant in comparison.variants]
    if len(words) > NAMED:
        return f"{len(words)} variants"
    listed = f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else words[0]
    return f"Variants of {listed}" if words is keys else listed


def _headlines(scores: Sequence[Score]) -> list[Score]:
    """Return the scores that `HEADLINE` names, in its order; else the first."""
    wanted = [score for prefix in HEADLINE for score in scores if score.name.startswith(prefix)]
    return (list({score.name: score for score in wanted}.values()) or list(scores))[:HEADLINES]


def _strips(score: Score) -> list[Markup | str]:
    everything = [value for each in score.variants if each.last for value in each.last.values]
    return [
        svg.strip(each.last.values, everything, index) if each.last else "" for index, each in enumerate(score.variants)
    ]


def _samples(variants: Sequence[Variant], media: Media) -> Iterable[tuple[str, list[Shown]]]:
    """Yield a row of grids for each seed that most variants have, or one of the first run of each."""
    count: dict[int, int] = {}
    for variant in variants:
        for seed in {run.seed for run in variant.runs if run.seed is not None and run.path}:
            count[seed] = count.get(seed, 0) + 1
    shared = [seed for seed in sorted(count) if count[seed] == max(count.values())] if count else []
    if not shared or (count[shared[0]] == 1 and len(variants) > 1):
        runs = [(index, run) for index, v in enumerate(variants) for run in v.runs[:1]]
        yield from _row("the first run of each", runs, media)
        return
    for seed in shared[:SEEDS]:
        runs = [(index, run) for index, v in enumerate(variants) for run in v.runs if run.seed == seed]
        yield from _row(f"seed {seed}", _one_each(runs), media)


def _one_each(runs: Iterable[tuple[int, RunRecord]]) -> list[tuple[int, RunRecord]]:
    """Return a complete run of each variant where there is one, else any."""
    chosen: dict[int, RunRecord] = {}
    for index, run in runs:
        if index not in chosen or (run.done and not chosen[index].done):
            chosen[index] = run
    return list(chosen.items())


def _row(what: str, runs: Iterable[tuple[int, RunRecord]], media: Media) -> Iterable[tuple[str, list[Shown]]]:
    row = [Shown(index, run, media.take(last_grid(run)), run.recipe.get("samples.count", "")) for index, run in runs]
    if any(each.picture for each in row):
        yield what, row


def _animation(index: int, variant: Variant, media: Media) -> Shown | None:
    for _, run in _one_each((index, run) for run in variant.runs):
        picture = media.take(animation(run))
        if picture is not None:
            return Shown(index, run, picture, run.recipe.get("samples.count", ""))
    return None


def _protocols(scores: Sequence[Score]) -> list[Protocol]:
    """Return every card once, with its scores."""
    groups: dict[tuple[str, ...], list[Score]] = {}
    for score in scores:
        if score.protocols:
            groups.setdefault(tuple(card.model_dump_json() for card, _ in score.protocols), []).append(score)
    found = []
    for together in groups.values():
        cards = [_facts(card) for card, _ in together[0].protocols]
        differing = {place for place in cards[0] if len({card.get(place) for card in cards}) > 1}
        for (card, named), facts in zip(together[0].protocols, cards, strict=True):
            beside = {place: shown(value) for place, value in noted(card).items() if value not in ("", {}, None)}
            found.append(Protocol([each.name for each in together], named, facts, beside, differing))
    return found


def _facts(card: Card) -> dict[str, str]:
    beside = noted(card)
    everything = flatten_whole(card.model_dump(mode="json"))
    return {clean(place): shown(value) for place, value in everything if place not in beside and value != {}}
