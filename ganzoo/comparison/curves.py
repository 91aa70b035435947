"""Curves over the steps of training: mean and range over the seeds, from the logged rows."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from ganzoo.comparison.comparison import Comparison
from ganzoo.comparison.scores import Series
from ganzoo.storage.summary import POSITION, SCORE

POINTS = 100
"""Largest number of points of a curve; rows between them are averaged."""
FIRST = ("score", "loss/", "probability/", "gradient_norm/")
"""Prefixes of the metrics shown first, in this order."""
LAST = ("lr/", "images_per_second")


@dataclass(frozen=True)
class Point:
    """A step, with the mean, lowest and highest value over the seeds."""

    step: float
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Figure:
    """The curves of one score or metric, one for each variant, empty where it has none, with the runs behind each."""

    name: str
    curves: list[list[Point]]
    seeds: list[int]

    @property
    def flat(self) -> bool:
        """Whether all its values are the same."""
        return len({value for curve in self.curves for point in curve for value in (point.low, point.high)}) < 2


def figures(comparison: Comparison) -> list[Figure]:
    """Return all curves that can be drawn: those of scores first, constant ones last."""
    found = [
        _figure(score.name, [list(each.series.values()) for each in score.variants])
        for score in comparison.scores
        if any(len(series) > 1 for each in score.variants for series in each.series.values())
    ]
    runs = [variant.complete or variant.runs for variant in comparison.variants]
    names = dict.fromkeys(key for each in runs for run in each for row in run.rows[:3] + run.rows[-3:] for key in row)
    wanted = [name for name in names if name not in POSITION and not name.startswith(SCORE)]
    found += [
        _figure(name, [[run.series(name) for run in each] for each in runs]) for name in sorted(wanted, key=_rank)
    ]
    drawn = [figure for figure in found if any(len(curve) > 1 for curve in figure.curves)]
    return sorted(drawn, key=lambda figure: figure.flat)


def _rank(name: str) -> int:
    places = [place for place, prefix in enumerate(FIRST) if name.startswith(prefix)]
    return places[0] if places else len(FIRST) + name.startswith(LAST)


def _figure(name: str, variants: Sequence[Sequence[Series]]) -> Figure:
    steps = {step for runs in variants for series in runs for step in series}
    width = max(steps, default=0) / POINTS if len(steps) > POINTS else 0.0
    kept = [[series for series in runs if series] for runs in variants]
    return Figure(name, [_curve(runs, width) for runs in kept], [len(runs) for runs in kept])


def _curve(runs: Sequence[Series], width: float) -> list[Point]:
    """Return one point for each step, or bin of `width` steps, in which any run has a value."""
    points: dict[float, list[float]] = defaultdict(list)
    for series in runs:
        bins: dict[float, list[float]] = defaultdict(list)
        for step, value in series.items():
            bins[(step // width + 0.5) * width if width else float(step)].append(value)
        for place, values in bins.items():
            points[place].append(statistics.fmean(values))
    return [Point(step, statistics.fmean(each), min(each), max(each)) for step, each in sorted(points.items())]
