"""How Weights & Biases draws and sums up the figures of a run, so that those of all runs line up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ganzoo.storage.summary import SCORE

if TYPE_CHECKING:
    import wandb

STEP = "step"
EXTREMES = ("loss/", "probability/", "gradient_norm/", "penalty/", SCORE)
"""Beginnings of the figures of which a run's summary holds the lowest and the highest value, not only the last."""


class Panels:
    """Gives every chart the training step as its axis.

    W&B makes a panel of each name and a section of what stands before the slash. All trainers use the same names,
    so panels of different runs come together by themselves.
    """

    def __init__(self, tracked: wandb.Run) -> None:
        self._tracked = tracked
        self._defined = {STEP}
        tracked.define_metric(STEP, hidden=True)
        tracked.define_metric("*", step_metric=STEP)

    def define(self, names: Iterable[str]) -> None:
        """Say how figures of these names are summed up, before the first row that has them.

        One by one: W&B passes over what a pattern such as "loss/*" says of the summary where another fits as well.
        """
        for name in names:
            if name not in self._defined and name.startswith(EXTREMES):
                self._tracked.define_metric(name, step_metric=STEP, summary="min,max,last")
            self._defined.add(name)


def extremes(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """The lowest, highest and last value of each figure, over all parts of a resumed run.

    W&B knows only of the part that it is tracking.
    """
    found: dict[str, dict[str, float]] = {}
    for row in rows:
        for name, value in row.items():
            if name.startswith(EXTREMES):
                known = found.get(name, {"min": value, "max": value})
                found[name] = {"min": min(known["min"], value), "max": max(known["max"], value), "last": value}
    return found
