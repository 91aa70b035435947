"""Means over seeds with their spread, and when a difference between two of them is more than chance."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

SEPARATED = 2.0
"""Two means are told apart from so many standard errors of their difference on."""


@dataclass(frozen=True)
class Spread:
    """A figure over several seeds.

    Attributes:
        values: one a seed.
    """

    values: tuple[float, ...]

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Spread | None:
        """The spread of those that are known; None where none is."""
        known = tuple(value for value in values if value is not None)
        return cls(known) if known else None

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return statistics.fmean(self.values)

    @property
    def deviation(self) -> float | None:
        """The sample's standard deviation; None for a single seed, which has none."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"mean": self.mean, "deviation": self.deviation, "values": list(self.values)}

    def text(self, digits: int | None = None) -> str:
        """Mean ± deviation, with so many digits after the point; left out: as many as the deviation deserves."""
        digits = decimals(self) if digits is None else digits
        mean = written(self.mean, digits)
        return mean if self.deviation is None else f"{mean} ± {written(self.deviation, digits)}"

    def __str__(self) -> str:
        return self.text()


def decimals(spread: Spread) -> int:
    """Digits after the point: two of the deviation's own, or three of the mean's where there is none."""
    scale, kept = (spread.deviation, 2) if spread.deviation else (abs(spread.mean), 3)
    if not scale:
        scale, kept = abs(spread.mean), 3
    if not scale:
        return 0
    return min(6, max(0, kept - 1 - math.floor(math.log10(scale))))


def written(value: float, digits: int) -> str:
    """A number with so many digits after the point; in powers of ten where that would be too long."""
    if value and (abs(value) >= 1e7 or abs(value) < 1e-5):
        return f"{value:.3g}"
    return f"{value:,.{digits}f}"


def separated(one: Spread, other: Spread) -> bool:
    """Whether two means differ by more than chance makes likely; never with fewer than two seeds each."""
    if min(len(one.values), len(other.values)) < 2:
        return False
    error = math.sqrt(sum(statistics.variance(each.values) / len(each.values) for each in (one, other)))
    return abs(one.mean - other.mean) > SEPARATED * error


def best_of(spreads: Sequence[Spread | None], lower: bool) -> tuple[int | None, list[int]]:
    """Which is best by its mean, and which others cannot be told from it; nothing where all are the same."""
    known = [index for index, spread in enumerate(spreads) if spread is not None]
    means = {index: spreads[index].mean for index in known}  # type: ignore[union-attr]
    if len(known) < 2 or len(set(means.values())) < 2:
        return None, []
    best = min(known, key=lambda index: means[index] if lower else -means[index])
    tied = [index for index in known if index != best and not separated(spreads[best], spreads[index])]  # type: ignore[arg-type]
    return best, tied
