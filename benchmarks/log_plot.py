"""Draws curves as an SVG with two logarithmic axes, for pages of the documentation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

Points = Sequence[tuple[float, float]]

WIDTH, HEIGHT, MARGIN, NAMES = 640, 400, 56, 110
"""Of the picture; what is left free around the axes; and right of them, for the names of the curves."""
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#7f7f7f", "#e69f00", "#56b4e9", "#000000")
LINE = 14
"""Least distance of two names, which are moved apart."""


def log_plot(curves: Mapping[str, Points], x_title: str, y_title: str, tick: str = "{:,g}") -> str:
    """Return one line for each curve with its name at its end; all coordinates are positive.

    Args:
        curves: points (x, y) by the name of the curve, at most one for each of `COLORS`.
        x_title: below the x axis.
        y_title: beside the y axis.
        tick: writes a power of ten.
    """
    everything = [point for points in curves.values() for point in points]
    (left, right), (low, high) = (decades([point[axis] for point in everything]) for axis in (0, 1))

    def place(x: float, y: float) -> tuple[float, float]:
        across = (math.log10(x) - left) / (right - left) * (WIDTH - MARGIN - NAMES)
        up = (math.log10(y) - low) / (high - low) * (HEIGHT - 1.5 * MARGIN)
        return MARGIN + across, HEIGHT - MARGIN - up

    (start, bottom), (end, top) = place(10**left, 10**low), place(10**right, 10**high)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
    ]
    for decade in range(math.ceil(left), math.floor(right) + 1):
        x, _ = place(10.0**decade, 10**low)
        parts.append(f'<path d="M{x:.1f} {bottom:.1f}V{top:.1f}" stroke="#dddddd" fill="none"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 16:.1f}" text-anchor="middle">{tick.format(10.0**decade)}</text>')
    for decade in range(math.ceil(low), math.floor(high) + 1):
        _, y = place(10**left, 10.0**decade)
        parts.append(f'<path d="M{start:.1f} {y:.1f}H{end:.1f}" stroke="#dddddd" fill="none"/>')
        parts.append(f'<text x="{start - 6:.1f}" y="{y + 4:.1f}" text-anchor="end">{tick.format(10.0**decade)}</text>')
    named: list[tuple[float, float, str, str]] = []
    for color, (name, points) in zip(COLORS[: len(curves)], curves.items(), strict=True):
        placed = [place(*point) for point in points]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{color}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{color}"/>' for x, y in placed]
        named.append((placed[-1][1] + 4, placed[-1][0] + 8, color, name))
    above = -math.inf
    for y, x, color, name in sorted(named):
        above = max(y, above + LINE)
        parts.append(f'<text x="{x:.1f}" y="{above:.1f}" fill="{color}">{name}</text>')
    parts.append(f'<text x="{WIDTH / 2}" y="{HEIGHT - 14}" text-anchor="middle">{x_title}</text>')
    parts.append(f'<text transform="rotate(-90)" x="{-HEIGHT / 2}" y="14" text-anchor="middle">{y_title}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def decades(values: Sequence[float]) -> tuple[float, float]:
    """Return the logarithms of the ends of an axis that has all values: tenths of a decade, and two at least."""
    low, high = math.floor(10 * math.log10(min(values))) / 10, math.ceil(10 * math.log10(max(values))) / 10
    return low, max(high, low + 0.2)
