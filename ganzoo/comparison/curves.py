"""Curves over the steps of training, of scores over its seconds too: mean and range over seeds, and their places."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ganzoo.comparison.comparison import Comparison
from ganzoo.comparison.runs import Variant
from ganzoo.comparison.scores import Score, Series
from ganzoo.storage.summary import POSITION, SCORE
from ganzoo.text import count, number, printable

POINTS = 100
"""Largest number of points of a curve; rows between them are averaged."""
FIRST = ("score", "loss/", "probability/", "logits/", "gradient_norm/")
"""Prefixes of the metrics shown first, in this order."""
LAST = ("lr/", "images_per_second")
WIDTH, HEIGHT = 302, 176
LOGARITHMIC = 100.0
"""Ratio of the highest to the lowest value from which on a positive axis is logarithmic."""
FEW = 12
"""Largest number of points of a curve that are marked."""


@dataclass(frozen=True)
class Point:
    """A step, or second, with the mean, lowest and highest value over the seeds."""

    step: float
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Figure:
    """The curves of one score or metric, one for each variant, empty where it has none.

    `over` says what `Point.step` counts: "step", or "seconds of training".
    """

    name: str
    curves: list[list[Point]]
    over: str = "step"

    @property
    def flat(self) -> bool:
        """Whether all its values are the same."""
        return len({value for curve in self.curves for point in curve for value in (point.low, point.high)}) < 2


def figures(comparison: Comparison) -> list[Figure]:
    """Return all curves that can be drawn.

    Those of scores come first, of them that of the target; then metrics, scores over seconds, and what is constant.
    """
    aim = "" if comparison.target is None else printable(comparison.target.target.score)
    scores = [
        score
        for score in sorted(comparison.scores, key=lambda score: score.name != aim)
        if any(len(series) > 1 for each in score.variants for series in each.series.values())
    ]
    found = [_figure(score.name, [list(each.series.values()) for each in score.variants]) for score in scores]
    timed = [_over_seconds(score, comparison.variants) for score in scores]
    if scores and scores[0].name == aim:
        found.insert(0, timed.pop(0))
    runs = [variant.complete or variant.runs for variant in comparison.variants]
    names = dict.fromkeys(key for each in runs for run in each for row in run.rows for key in row)
    wanted = [name for name in names if name not in POSITION and not name.startswith(SCORE)]
    found += [
        _figure(name, [[run.series(name) for run in each] for each in runs]) for name in sorted(wanted, key=_rank)
    ]
    drawn = [figure for figure in [*found, *timed] if any(len(curve) > 1 for curve in figure.curves)]
    return sorted(drawn, key=lambda figure: figure.flat)


def _rank(name: str) -> int:
    places = [place for place, prefix in enumerate(FIRST) if name.startswith(prefix)]
    return places[0] if places else len(FIRST) + name.startswith(LAST)


def _figure(name: str, variants: Sequence[Sequence[Series]]) -> Figure:
    width = _width(variants)
    return Figure(name, [_curve(runs, width) for runs in variants])


def _over_seconds(score: Score, variants: Sequence[Variant]) -> Figure:
    """Return the curves of a score over the seconds of training at which the runs had taken its steps, on average."""
    values: list[list[Series]] = []
    times: list[list[Series]] = []
    for own, variant in zip(score.variants, variants, strict=True):
        seconds = {run: run.series("seconds") for run in variant.runs}
        known = [(series, seconds[run], series.keys() & seconds[run].keys()) for run, series in own.series.items()]
        values.append([{step: series[step] for step in sorted(steps)} for series, _, steps in known])
        times.append([{step: when[step] for step in sorted(steps)} for _, when, steps in known])
    width = _width(values)
    curves = [
        [replace(point, step=when.mean) for point, when in zip(_curve(runs, width), _curve(whens, width), strict=True)]
        for runs, whens in zip(values, times, strict=True)
    ]
    ordered = [sorted(curve, key=lambda point: point.step) for curve in curves]
    return Figure(score.name, ordered, over="seconds of training")


def _width(variants: Sequence[Sequence[Series]]) -> float:
    """Return the width in steps of the bins of a figure; 0 where each step is a point."""
    steps = {step for runs in variants for series in runs for step in series}
    return max(steps, default=0) / POINTS if len(steps) > POINTS else 0.0


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


def chart(figure: Figure, names: Sequence[str]) -> dict[str, Any]:
    """Return what the page draws of a figure, in units of a plot of `WIDTH` by `HEIGHT`.

    Curves and bands have the index of their variant, of which `names` are the names; axes have places and labels.
    """
    points = [point for curve in figure.curves for point in curve]
    low, high = min(point.low for point in points), max(point.high for point in points)
    if low == high:
        low, high = low - (abs(low) / 10 or 1), high + (abs(high) / 10 or 1)
    logarithmic = low > 0 and high / low >= LOGARITHMIC
    by: Callable[[float], float] = math.log10 if logarithmic else float
    rows = _log_ticks(low, high) if logarithmic else _ticks(low, high)
    low, high = by(min(low, rows[0])), by(max(high, rows[-1]))
    first, last = min(point.step for point in points), max(point.step for point in points)
    first = 0.0 if first < 0.2 * last else first

    def x(step: float) -> float:
        return round(WIDTH * (step - first) / ((last - first) or 1), 1)

    def y(value: float) -> float:
        return round(HEIGHT * (1 - (by(value) - low) / (high - low)), 1)

    def joined(places: Iterable[tuple[float, float]]) -> str:
        return " ".join(f"{x(step)},{y(value)}" for step, value in places)

    curves = [(index, curve) for index, curve in enumerate(figure.curves) if curve]
    return {
        "name": figure.name,
        "over": figure.over,
        "description": "; ".join(
            f"{names[index]} from {curve[0].mean:.3g} at {_place(curve[0], figure.over)} "
            f"to {curve[-1].mean:.3g} at {_place(curve[-1], figure.over)}"
            for index, curve in curves
        ),
        "rows": [(y(tick), _label(tick)) for tick in rows],
        "columns": [(x(tick), _label(tick)) for tick in _ticks(first, last, 4) if first <= tick <= last],
        "logarithmic": logarithmic,
        "bands": [
            (index, joined([*((p.step, p.high) for p in curve), *((p.step, p.low) for p in reversed(curve))]))
            for index, curve in curves
            if any(point.low < point.high for point in curve)
        ],
        "lines": [(index, joined((p.step, p.mean) for p in curve)) for index, curve in curves],
        "dots": [(index, x(p.step), y(p.mean)) for index, curve in curves if len(curve) <= FEW for p in curve],
    }


def _place(point: Point, over: str) -> str:
    return f"step {point.step:.0f}" if over == "step" else f"{number(point.step)} {over}"


def _ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Return round numbers that span `low` to `high`."""
    rough = (high - low or abs(high) or 1.0) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    begin, end = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(step * place, 12) for place in range(begin, max(end, begin + 1) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    begin, end = math.floor(math.log10(low)), math.ceil(math.log10(high))
    stride = max(1, math.ceil((end - begin) / 6))
    return [10.0**power for power in range(begin, end + stride, stride)]


def _label(value: float) -> str:
    return count(round(value)) if 1e4 <= value < 1e12 else f"{value:.4g}".replace("-", "−")
