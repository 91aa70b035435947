"""Mean and deviation over seeds, and whether two means differ significantly."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

SEPARATED = 2.0
"""Standard errors of their difference beyond which two means count as different."""


@dataclass(frozen=True)
class Spread:
    """Values of one figure over several seeds.

    Attributes:
        values: one for each seed.
    """

    values: tuple[float, ...]

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Spread | None:
        """Return the spread of the known values; None without any."""
        known = tuple(value for value in values if value is not None)
        return cls(known) if known else None

    @property
    def mean(self) -> float:
        """Mean over the seeds."""
        return statistics.fmean(self.values)

    @property
    def deviation(self) -> float | None:
        """Sample standard deviation; None for a single seed."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    def to_dict(self) -> dict[str, Any]:
        """Return the spread as a JSON object."""
        return {"mean": self.mean, "deviation": self.deviation, "values": list(self.values)}

    def text(self, digits: int | None = None) -> str:
        """Format mean ± deviation with `digits` after the point; left out: as many as `decimals` returns."""
        digits = decimals(self) if digits is None else digits
        mean = written(self.mean, digits)
        return mean if self.deviation is None else f"{mean} ± {written(self.deviation, digits)}"

    def __str__(self) -> str:
        return self.text()


def decimals(spread: Spread) -> int:
    """Return the digits after the point: two significant ones of the deviation, or three of the mean without one."""
    scale, kept = (spread.deviation, 2) if spread.deviation else (abs(spread.mean), 3)
    if not scale:
        scale, kept = abs(spread.mean), 3
    if not scale:
        return 0
    return min(6, max(0, kept - 1 - math.floor(math.log10(scale))))


def written(value: float, digits: int) -> str:
    """Format a number with `digits` after the point; very large and very small ones in scientific notation."""
    if value and (abs(value) >= 1e7 or abs(value) < 1e-5):
        return f"{value:.3g}"
    return f"{value:,.{digits}f}"


def separated(one: Spread, other: Spread) -> bool:
    """Return whether two means differ significantly; never with fewer than two seeds each."""
    if min(len(one.values), len(other.values)) < 2:
        return False
    error = math.sqrt(sum(statistics.variance(each.values) / len(each.values) for each in (one, other)))
    return abs(one.mean - other.mean) > SEPARATED * error


def best_of(spreads: Sequence[Spread | None], lower: bool) -> tuple[int | None, list[int]]:
    """Return the index of the best mean, and of those not significantly worse; None where all are the same."""
    known = [index for index, spread in enumerate(spreads) if spread is not None]
    means = {index: spreads[index].mean for index in known}  # type: ignore[union-attr]
    if len(known) < 2 or len(set(means.values())) < 2:
        return None, []
    best = min(known, key=lambda index: means[index] if lower else -means[index])
    tied = [index for index in known if index != best and not separated(spreads[best], spreads[index])]  # type: ignore[arg-type]
    return best, tied
