"""Curves over the steps of training: mean and range over the seeds, from the logged rows."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ganzoo.comparison.collect import RunRecord, number
from ganzoo.comparison.comparison import Comparison
from ganzoo.comparison.variants import Variant
from ganzoo.storage.summary import POSITION, SCORE

POINTS = 100
"""Largest number of points of a curve; rows between them are averaged."""
FIRST = ("score", "loss/", "probability/", "gradient_norm/")
"""Prefixes of the metrics shown first, in this order."""
LAST = ("lr/", "images_per_second")

Series = Mapping[int, float]


@dataclass(frozen=True)
class Point:
    """A step, with the mean, lowest and highest value over the seeds."""

    step: float
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Figure:
    """The curves of one score or metric.

    Attributes:
        name: of the score or metric.
        curves: one for each variant; empty where it has none.
        seeds: number of runs behind each curve.
    """

    name: str
    curves: list[list[Point]]
    seeds: list[int]


def figures(comparison: Comparison) -> list[Figure]:
    """Return all curves that can be drawn, those of scores first."""
    found = [
        _figure(score.name, [list(each.series.values()) for each in score.variants])
        for score in comparison.scores
        if any(len(series) > 1 for each in score.variants for series in each.series.values())
    ]
    runs = [_counted(variant) for variant in comparison.variants]
    names = dict.fromkeys(key for each in runs for run in each for row in run.rows[:3] + run.rows[-3:] for key in row)
    wanted = [name for name in names if name not in POSITION and not name.startswith(SCORE)]
    wanted.sort(key=_rank)
    found += [_figure(name, [[_series(run, name) for run in each] for each in runs]) for name in wanted]
    drawn = [figure for figure in found if any(len(curve) > 1 for curve in figure.curves)]
    return sorted(drawn, key=_is_flat)  # constant curves come last


def _is_flat(figure: Figure) -> bool:
    return len({value for curve in figure.curves for point in curve for value in (point.low, point.high)}) < 2


def _counted(variant: Variant) -> list[RunRecord]:
    """Return the complete runs, or all where none is complete."""
    return variant.complete or variant.runs


def _rank(name: str) -> int:
    for place, prefix in enumerate(FIRST):
        if name.startswith(prefix):
            return place
    return len(FIRST) + name.startswith(LAST)


def _series(run: RunRecord, name: str) -> Series:
    return {int(row["step"]): value for row in run.rows if (value := number(row.get(name))) is not None}


def _figure(name: str, variants: Sequence[Sequence[Series]]) -> Figure:
    steps = {step for runs in variants for series in runs for step in series}
    width = max(steps, default=0) / POINTS if len(steps) > POINTS else 0.0
    kept = [[series for series in runs if series] for runs in variants]
    return Figure(name, [_curve(runs, width) for runs in kept], [len(runs) for runs in kept])


def _curve(runs: Sequence[Series], width: float) -> list[Point]:
    """Return one point for each step, or bin of `width` steps, in which any run has a value."""
    binned = [_binned(series, width) for series in runs]
    points = []
    for step in sorted({step for series in binned for step in series}):
        values = [series[step] for series in binned if step in series]
        points.append(Point(step, statistics.fmean(values), min(values), max(values)))
    return points


def _binned(series: Series, width: float) -> dict[float, float]:
    if not width:
        return {float(step): value for step, value in series.items()}
    bins: dict[float, list[float]] = {}
    for step, value in series.items():
        bins.setdefault((step // width + 0.5) * width, []).append(value)
    return {step: statistics.fmean(values) for step, values in bins.items()}
