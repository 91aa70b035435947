"""Mean and deviation over seeds, and which means differ significantly from the best."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

Pair = tuple[int, int]
LEVEL = 0.05
"""Probability at most that any variant is told from the best where all are the same."""


@dataclass(frozen=True)
class Spread:
    """Values of one figure, one for each seed; false, and written as a dash, without any."""

    values: tuple[float, ...]

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Spread:
        """Return the spread of the known values."""
        return cls(tuple(value for value in values if value is not None))

    @property
    def mean(self) -> float:
        """Mean over the seeds."""
        return statistics.fmean(self.values)

    @property
    def deviation(self) -> float | None:
        """Sample standard deviation; None for a single seed."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    def to_dict(self) -> dict[str, Any] | None:
        """Return the spread as a JSON object; None without values."""
        return {"mean": self.mean, "deviation": self.deviation, "values": list(self.values)} if self else None

    @property
    def decimals(self) -> int:
        """Digits after the point: two significant ones of the deviation, or three of the mean without one."""
        scale, kept = (self.deviation, 2) if self.deviation else (abs(self.mean), 3)
        return min(6, max(0, kept - 1 - math.floor(math.log10(scale)))) if scale else 0

    @property
    def fewest_decimals(self) -> int:
        """Digits after the point that show two significant ones of the mean, where its deviation does not hide them."""
        scale = max(abs(self.mean), self.deviation or 0.0) if self else 0.0
        return min(6, max(0, 1 - math.floor(math.log10(scale)))) if 0 < scale < 1 else 0

    def text(self, digits: int | None = None) -> str:
        """Format mean ± deviation with `digits` after the point; default: as many as `decimals`."""
        if not self:
            return "—"
        digits = self.decimals if digits is None else digits
        return " ± ".join(_written(each, digits) for each in (self.mean, self.deviation) if each is not None)

    def __bool__(self) -> bool:
        return bool(self.values)

    def __str__(self) -> str:
        return self.text()


def _written(value: float, digits: int) -> str:
    """Format a number with `digits` after the point; very large and very small ones in scientific notation."""
    if value and (abs(value) >= 1e7 or abs(value) < 1e-5):
        return f"{value:.3g}"
    return f"{value:,.{digits}f}"


def p_value(one: Spread, other: Spread) -> float:
    """Return the p-value of Welch's t-test for two means; 1 with fewer than two seeds each."""
    if min(len(one.values), len(other.values)) < 2:
        return 1.0
    parts = [statistics.variance(each.values) / len(each.values) for each in (one, other)]
    squared = sum(parts)
    if not squared:
        return float(one.mean == other.mean)
    shares = [(part / squared) ** 2 / (len(each.values) - 1) for part, each in zip(parts, (one, other), strict=True)]
    from scipy.special import stdtr  # slow to import, for comparisons of several seeds alone

    return float(2 * stdtr(1 / sum(shares), -abs(one.mean - other.mean) / math.sqrt(squared)))


def significant(p_values: Mapping[Pair, float]) -> set[Pair]:
    """Return the keys of those of several tests that are significant together, by Holm's method."""
    left = sorted(p_values, key=p_values.__getitem__)
    while left and p_values[left[0]] < LEVEL / len(left):
        left.pop(0)
    return {*p_values} - {*left}


def not_told_from(best: int, known: Sequence[int], p_of: Callable[[int, int], float]) -> list[int]:
    """Return those of `known` that do not differ significantly from the best of them; `p_of` tests a pair.

    All pairs are tested together: the values chose the best one, so a test of it alone against each would find a
    difference too often.
    """
    told = significant({pair: p_of(*pair) for pair in combinations(known, 2)})
    apart = {index for pair in told if best in pair for index in pair}
    return [index for index in known if index not in apart | {best}]


def best_of(spreads: Sequence[Spread], lower: bool) -> tuple[int | None, list[int]]:
    """Return the index of the best mean, and of those not significantly different; None where all are the same."""
    known = {index: spread for index, spread in enumerate(spreads) if spread}
    if len({spread.mean for spread in known.values()}) < 2:
        return None, []
    best = (min if lower else max)(known, key=lambda index: known[index].mean)
    return best, not_told_from(best, [*known], lambda one, other: p_value(known[one], known[other]))
