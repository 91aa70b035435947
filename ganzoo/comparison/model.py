"""A comparison: variants of a recipe, the options they differ in, and their scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ganzoo.comparison import scores as scoring
from ganzoo.comparison.collect import RunRecord
from ganzoo.comparison.scores import Score
from ganzoo.comparison.statistics import Spread
from ganzoo.comparison.variants import Option, Variant


@dataclass(frozen=True)
class Comparison:
    """Runs side by side.

    Attributes:
        variants: runs of one recipe each.
        differences: the options in which the recipes differ.
        scores: with their spread over seeds.
        notes: what a reader has to know before believing the figures.
    """

    variants: Sequence[Variant]
    differences: Sequence[Option]
    scores: Sequence[Score]
    notes: Sequence[str]

    @property
    def runs(self) -> list[RunRecord]:
        """All runs, variant after variant."""
        return [run for variant in self.variants for run in variant.runs]

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "variants": [
                {
                    "name": variant.name,
                    "status": variant.status,
                    "seeds": len(variant.complete),
                    "seconds": _dict(seconds(variant)),
                    "images_per_second": _dict(speed(variant)),
                    "runs": [
                        {
                            "run": run.name,
                            "path": str(run.path) if run.path else None,
                            "seed": run.seed,
                            "status": run.status,
                            "error": run.error or None,
                            "steps": run.steps[0],
                            "total_steps": run.steps[1],
                        }
                        for run in variant.runs
                    ],
                }
                for variant in self.variants
            ],
            "differences": {
                option.key: {v.name: value for v, value in zip(self.variants, option.values, strict=True)}
                for option in self.differences
            },
            "scores": [scoring.to_dict(score, self.variants) for score in self.scores],
            "notes": list(self.notes),
        }


def seconds(variant: Variant) -> Spread | None:
    """Time in training, over the complete runs."""
    return Spread.of(run.seconds for run in variant.complete)


def speed(variant: Variant) -> Spread | None:
    """Images a second, over the complete runs."""
    return Spread.of(run.images_per_second for run in variant.complete)


def _dict(spread: Spread | None) -> dict[str, Any] | None:
    return spread.to_dict() if spread else None
