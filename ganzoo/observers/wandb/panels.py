"""How Weights & Biases draws the figures of a run, so that panels of all runs line up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ganzoo.observers.metrics_log import SCORE

if TYPE_CHECKING:
    import wandb


def define_panels(tracked: wandb.Run) -> None:
    """Give every chart the training step as its axis, and keep the best and worst of each score."""
    tracked.define_metric("step", hidden=True)
    tracked.define_metric("*", step_metric="step")
    tracked.define_metric(f"{SCORE}*", step_metric="step", summary="min,max,last")
