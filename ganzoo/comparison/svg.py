"""Curves and strips of dots as SVG without scripts; colors and fonts come from the page."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from xml.etree.ElementTree import Element, SubElement, tostring

from markupsafe import Markup

from ganzoo.comparison.curves import Figure
from ganzoo.text import printable

WIDTH, HEIGHT = 360, 216
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 10, 30
STRIP_WIDTH, STRIP_HEIGHT = 120, 18
STYLES = 8
"""Number of the page's colors; further variants reuse them with other dashes."""
LOGARITHMIC = 100.0
"""Ratio of the highest to the lowest value from which on a positive axis is logarithmic."""

Scale = Callable[[float], float]


def style(index: int) -> str:
    """Return the CSS classes of a variant: its color and its dashes."""
    return f"v{index % STYLES} d{index % 4 if index < STYLES else (index + 1) % 4}"


def chart(figure: Figure, names: Sequence[str]) -> Markup:
    """Draw a figure's curves with their bands and axes, and a description for screen readers."""
    points = [point for curve in figure.curves for point in curve]
    values = [value for point in points for value in (point.low, point.high)]
    low, high = min(values), max(values)
    if low == high:
        low, high = low - (abs(low) / 10 or 1), high + (abs(high) / 10 or 1)
    logarithmic = low > 0 and high / low >= LOGARITHMIC
    ticks = _log_ticks(low, high) if logarithmic else _ticks(low, high)
    low, high = min(low, ticks[0]), max(high, ticks[-1])
    first, last = min(point.step for point in points), max(point.step for point in points)
    first = 0.0 if first < 0.2 * last else first
    x = _scale(first, last, LEFT, WIDTH - RIGHT)
    y = _scale(low, high, HEIGHT - BOTTOM, TOP, math.log10 if logarithmic else float)

    svg = Element("svg", {"class": "chart", "viewBox": f"0 0 {WIDTH} {HEIGHT}", "role": "img"})
    SubElement(svg, "title").text = printable(f"{figure.name} over steps")
    SubElement(svg, "desc").text = _described(figure, names)
    for tick in ticks:
        _line(svg, "grid", LEFT, y(tick), WIDTH - RIGHT, y(tick))
        _text(svg, LEFT - 6, y(tick) + 4, _label(tick), "end")
    steps = [tick for tick in _ticks(first, last, 4) if first <= tick <= last]
    for tick in steps:
        _line(svg, "grid", x(tick), HEIGHT - BOTTOM, x(tick), HEIGHT - BOTTOM + 4)
        _text(svg, x(tick), HEIGHT - BOTTOM + 15, _label(tick), "middle" if x(tick) < WIDTH - RIGHT - 14 else "end")
    _text(svg, (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 3, "step", "middle")
    if logarithmic:
        _text(svg, WIDTH - RIGHT, TOP + 8, "logarithmic", "end")
    for index, curve in enumerate(figure.curves):
        if figure.seeds[index] > 1 and len(curve) > 1:
            edge = [(p.step, p.high) for p in curve] + [(p.step, p.low) for p in reversed(curve)]
            SubElement(svg, "polygon", {"class": f"band {style(index)}", "points": _points(edge, x, y)})
    for index, curve in enumerate(figure.curves):
        line = [(point.step, point.mean) for point in curve]
        if len(line) > 1:
            SubElement(svg, "polyline", {"class": f"line {style(index)}", "points": _points(line, x, y)})
        if len(line) <= 12:
            for step, mean in line:
                _dot(svg, index, x(step), y(mean), 2.2)
    return _markup(svg)


def strip(spread: Sequence[float], everything: Sequence[float], index: int) -> Markup:
    """Draw a dot for each seed on an axis that all variants share; the numbers stand beside it."""
    low, high = min(everything), max(everything)
    x = _scale(low, high, 6, STRIP_WIDTH - 6)
    svg = Element("svg", {"class": "strip", "viewBox": f"0 0 {STRIP_WIDTH} {STRIP_HEIGHT}", "aria-hidden": "true"})
    _line(svg, "grid", 0, STRIP_HEIGHT / 2, STRIP_WIDTH, STRIP_HEIGHT / 2)
    mean = x(sum(spread) / len(spread))
    _line(svg, f"mean {style(index)}", mean, 2, mean, STRIP_HEIGHT - 2)
    for value in spread:
        _dot(svg, index, x(value), STRIP_HEIGHT / 2, 3.5)
    return _markup(svg)


def _described(figure: Figure, names: Sequence[str]) -> str:
    parts = []
    for name, curve in zip(names, figure.curves, strict=True):
        if curve:
            begin, end = curve[0], curve[-1]
            parts.append(
                f"{name} from {begin.mean:.3g} at step {begin.step:.0f} to {end.mean:.3g} at step {end.step:.0f}"
            )
    return printable("; ".join(parts))


def _scale(low: float, high: float, start: float, end: float, by: Scale = float) -> Scale:
    span = by(high) - by(low)
    return lambda value: start + (end - start) * ((by(value) - by(low)) / span if span else 0.5)


def _ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Return round numbers that span `low` to `high`."""
    span = high - low or abs(high) or 1.0
    rough = span / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    begin, end = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(step * place, 12) for place in range(begin, max(end, begin + 1) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    begin, end = math.floor(math.log10(low)), math.ceil(math.log10(high))
    stride = max(1, math.ceil((end - begin) / 6))
    return [10.0**power for power in range(begin, end + stride, stride)]


def _label(value: float) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size * (10 if unit == "k" else 1):
            return f"{value / size:.4g}{unit}"
    return f"{value:.4g}".replace("-", "−")


def _points(places: Sequence[tuple[float, float]], x: Scale, y: Scale) -> str:
    return " ".join(f"{x(step):.1f},{y(value):.1f}" for step, value in places)


def _line(svg: Element, kind: str, x1: float, y1: float, x2: float, y2: float) -> None:
    places = {"x1": x1, "y1": y1, "x2": x2, "y2": y2}
    SubElement(svg, "line", {name: f"{value:.1f}" for name, value in places.items()} | {"class": kind})


def _dot(svg: Element, index: int, x: float, y: float, radius: float) -> None:
    SubElement(svg, "circle", {"cx": f"{x:.1f}", "cy": f"{y:.1f}", "r": f"{radius}", "class": f"dot {style(index)}"})


def _text(svg: Element, x: float, y: float, text: str, anchor: str) -> None:
    SubElement(svg, "text", {"x": f"{x:.1f}", "y": f"{y:.1f}", "text-anchor": anchor}).text = text


def _markup(svg: Element) -> Markup:
    return Markup(tostring(svg, encoding="unicode"))  # noqa: S704 (ElementTree escapes what it is given)
