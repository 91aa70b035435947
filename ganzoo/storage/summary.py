"""Contents of `summary.json`: the status, last metrics and best scores of a run."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from ganzoo.components.metric import Direction
from ganzoo.components.observer import RunView
from ganzoo.recipe.model import TargetOptions
from ganzoo.storage.run_directory import ALERT

Status = Literal["complete", "reached", "interrupted", "failed"]

SUMMARY = "summary.json"
POSITION = ("step", "epoch", "seconds")
SCORE = "score/"
TIME = "time_to_target"


def drop_non_finite(figures: Mapping[str, float]) -> dict[str, float]:
    """Return the finite ones among `figures`."""
    return {name: value for name, value in figures.items() if math.isfinite(value)}


def ahead(value: float, of: float, direction: Direction) -> bool:
    """Return whether a value of a score is better than another; never where the score has no direction."""
    return {"lower": value < of, "higher": value > of, "none": False}[direction]


def summarize(run: RunView, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the contents of `summary.json` from all rows of metrics, those before a resume included."""
    rates = [row["images_per_second"] for row in rows if "images_per_second" in row]
    logged = [row for row in rows if not any(name.startswith(SCORE) for name in row)]
    metrics = {name: value for row in logged for name, value in row.items() if name not in POSITION}
    summary: dict[str, Any] = {
        "status": run.status,
        "steps": run.step,
        "total_steps": run.total_steps,
        "epoch": run.epoch,
        "seconds": run.seconds,
        "images_per_second": {"median": statistics.median(rates), "last": rates[-1]} if rates else {},
        "metrics": metrics,
        "scores": best_and_last(rows, run.directory.score_directions()),
        "alerts": [{"step": row["step"], **row[ALERT]} for row in run.directory.read_alerts()],
    }
    if run.recipe.run.target is not None:
        summary |= at_target(run.recipe.run.target, rows)
    if run.error is not None:
        summary["error"] = f"{type(run.error).__name__}: {run.error}"
    return summary


def at_target(target: TargetOptions, rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what `summary.json` says of a target: whether it was reached, at which step, after how much training."""
    row, options = first_reaching(target, rows), target.model_dump(exclude_none=True)
    if row is None:
        return {"target": options | {"reached": False}, TIME: None}
    reached = {"reached": True, "value": row[SCORE + target.score], "step": row["step"]}
    return {"target": options | reached, TIME: row.get("seconds")}


def first_reaching(target: TargetOptions, rows: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Return the first row of metrics with a score that reaches the target; None where none does."""
    name = SCORE + target.score
    return next((row for row in rows if name in row and target.reached_by(row[name])), None)


def best_and_last(
    rows: Sequence[Mapping[str, Any]], directions: Mapping[str, Direction]
) -> dict[str, dict[str, dict[str, float]]]:
    """Return the best value of each score with a direction, and the last of each, with their steps."""
    best: dict[str, dict[str, float]] = {}
    last: dict[str, dict[str, float]] = {}
    for row in rows:
        for key, value in row.items():
            if not key.startswith(SCORE):
                continue
            name = key.removeprefix(SCORE)
            last[name] = {"value": value, "step": row["step"]}
            direction = directions.get(name, "none")
            if direction != "none" and (name not in best or ahead(value, best[name]["value"], direction)):
                best[name] = last[name]
    return {"best": best, "last": last}
