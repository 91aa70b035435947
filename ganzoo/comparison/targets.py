"""Rank variants by the seconds of training until a score reaches a target; runs that never reach it are censored."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from pydantic import ValidationError

from ganzoo.comparison.runs import RunRecord, Variant, finite_number
from ganzoo.comparison.scores import Score
from ganzoo.comparison.statistics import not_told_from
from ganzoo.errors import DivergedError
from ganzoo.recipe.model import TargetOptions
from ganzoo.storage.summary import SCORE, first_reaching
from ganzoo.text import number, printable

PREFIX = "run.target."
MOST_DEALS = 20_000
"""Ways of dealing the runs to two variants up to which a test tries each; beyond, a normal distribution is close."""


@dataclass(frozen=True)
class TargetTimes:
    """Seconds of training until the target, a value for each run of a variant; false without any.

    Attributes:
        reached: of the runs that reached it.
        unreached: how long those trained that ended without it; infinite for those that diverged, which never would.
    """

    reached: tuple[float, ...] = ()
    unreached: tuple[float, ...] = ()

    @property
    def median(self) -> float:
        """Median over the runs; infinite where it is of a run that never reached the target."""
        return statistics.median([*self.reached, *(math.inf for _ in self.unreached)])

    @property
    def at_least(self) -> float:
        """Seconds that the median is at least."""
        return statistics.median([*self.reached, *self.unreached])

    @property
    def order(self) -> tuple[float, ...]:
        """What variants are sorted by: their medians, then the share of runs that reached it, and when these did."""
        if not self:
            return math.inf, 1.0
        reached = statistics.median(self.reached) if self.reached else math.inf
        return self.median, -len(self.reached) / len(self), reached, self.at_least

    def to_dict(self) -> dict[str, Any] | None:
        """Return the times as a JSON object; the median is None where it is of a run that never reached the target."""
        if not self:
            return None
        median = self.median if math.isfinite(self.median) else None
        trained = [seconds for seconds in self.unreached if math.isfinite(seconds)]
        return {"median": median, "reached": list(self.reached), "not_reached": trained, "diverged": self.diverged}

    @property
    def diverged(self) -> int:
        """Number of runs that diverged."""
        return sum(map(math.isinf, self.unreached))

    def __len__(self) -> int:
        return len(self.reached) + len(self.unreached)

    def __str__(self) -> str:
        if not self:
            return "—"
        known, bounded = math.isfinite(self.median), math.isfinite(self.at_least)
        parts = [f"{number(self.median)} s" if known else f"> {number(self.at_least)} s" if bounded else "never"]
        if len(self.reached) > 1:
            parts[0] += f" ({number(min(self.reached))}–{number(max(self.reached))})"
        if self.unreached:
            parts.append("not reached" + (f" in {len(self.unreached)} of {len(self)}" if len(self) > 1 else ""))
        if self.diverged:
            parts.append(f"{self.diverged} diverged")
        return ", ".join(parts)


@dataclass(frozen=True)
class TargetRanking:
    """Variants by the time to a target.

    Attributes:
        target: of the recipes.
        times: of each variant, in order.
        refused: why it is not ranked; empty where it is.
        best: index of the variant with the shortest median; None where no run reached it, or none is ranked.
        tied: indices of those that cannot be told from it.
    """

    target: TargetOptions
    times: Sequence[TargetTimes]
    refused: Sequence[str] = ()
    best: int | None = None
    tied: Sequence[int] = ()

    @property
    def name(self) -> str:
        """The target in words, such as "fd_classifier < 6"."""
        return printable(self.target)

    @property
    def order(self) -> list[int]:
        """Indices of the variants, the fastest first."""
        return sorted(range(len(self.times)), key=lambda index: self.times[index].order)

    def mark(self, index: int) -> str:
        """Return "★" for the best variant, "≈" for those not told from it, "?" where none is ranked, else nothing."""
        return "★" if index == self.best else "≈" if index in self.tied else "?" if self.refused else ""

    def cell(self, index: int) -> str:
        """Return the times of a variant with its mark."""
        return f"{self.times[index]} {self.mark(index)}".rstrip()

    def to_dict(self, names: Sequence[str]) -> dict[str, Any]:
        """Return the ranking as a JSON object; `names` are those of the variants."""
        return {
            **self.target.model_dump(exclude_none=True),
            "refused": list(self.refused),
            "best": None if self.best is None else names[self.best],
            "not_told_from_best": [names[index] for index in self.tied],
            "variants": {name: times.to_dict() for name, times in zip(names, self.times, strict=True)},
        }


def targets_of(variants: Iterable[Variant]) -> list[TargetOptions]:
    """Return the different targets of the recipes, those that are damaged left out."""
    found: dict[str, TargetOptions] = {}
    for variant in variants:
        options = {key.removeprefix(PREFIX): value for key, value in variant.recipe.items() if key.startswith(PREFIX)}
        try:
            target = TargetOptions.model_validate(options)
        except ValidationError:  # none, or damaged
            continue
        found[str(target)] = target
    return list(found.values())


def rank_by_target(variants: Sequence[Variant], scores: Iterable[Score]) -> TargetRanking | None:
    """Rank variants by the target that their recipes have; None where they have none, or several.

    Runs without a target, and those that went on after it, count by the scores that they were given.
    """
    targets = targets_of(variants)
    if len(targets) != 1:
        return None
    target = targets[0]
    times = [_times(target, variant) for variant in variants]
    refused = [reason for score in scores if score.name == printable(target.score) for reason in score.refused]
    known = [index for index, each in enumerate(times) if each.reached]
    if refused or len(variants) < 2 or not known:
        return TargetRanking(target, times, refused)
    best = min(known, key=lambda index: times[index].order)
    timed = [index for index, each in enumerate(times) if each]
    tied = not_told_from(best, timed, lambda one, other: logrank_p_value(times[one], times[other]))
    return TargetRanking(target, times, (), best, tied)


def time_to(target: TargetOptions, run: RunRecord, aimed: bool) -> tuple[float, bool] | None:
    """Return the seconds until a run reached a target, or those it trained without; and whether it did.

    None where neither is known: of a run that is not over, and of one without the target (`aimed` is false) that was
    never scored. Infinite for one that diverged.
    """
    if row := first_reaching(target, run.rows):
        seconds = finite_number(row.get("seconds"))
        return None if seconds is None else (seconds, True)
    if run.status == "failed" and run.error.startswith(DivergedError.__name__):
        return math.inf, False
    scored = any(SCORE + target.score in each for each in run.rows)
    if run.status not in ("complete", "reached", "failed") or not (aimed or scored):
        return None
    return max(run.series("seconds").values(), default=0.0) if run.seconds is None else run.seconds, False


def _times(target: TargetOptions, variant: Variant) -> TargetTimes:
    aimed = bool(targets_of([variant]))
    known = [each for run in variant.runs if (each := time_to(target, run, aimed)) is not None]
    return TargetTimes(
        tuple(seconds for seconds, reached in known if reached),
        tuple(seconds for seconds, reached in known if not reached),
    )


def logrank_p_value(one: TargetTimes, other: TargetTimes) -> float:
    """Return the p-value of a log-rank test, which takes censored times as what they are.

    It is a permutation test: the share of the ways of dealing the same runs to two variants that tell these at least as
    far apart. The usual chi-squared distribution gives far too small a value for a few runs: 0.025 for two times three
    that do not overlap, of which two of the twenty ways are, 0.1.
    """
    times = np.array([*one.reached, *one.unreached, *other.reached, *other.unreached])
    reached = np.concatenate([np.arange(len(each)) < len(each.reached) for each in (one, other)])
    events, counts = np.unique(times[reached], return_counts=True)
    hazards = counts / (times >= events[:, None]).sum(1)
    # Observed less expected, of each run; they sum to 0.
    scores = reached - (hazards * (times[:, None] >= events)).sum(1)
    apart, count, part = abs(scores[: len(one)].sum()), len(times), len(one)
    if math.comb(count, part) <= MOST_DEALS:
        deals = scores[np.array([*combinations(range(count), part)])].sum(1)
        return float((abs(deals) >= apart - 1e-9).mean())
    variance = part * (count - part) * (scores**2).sum() / (count * (count - 1))
    return math.erfc(apart / math.sqrt(2 * variance)) if variance else 1.0
