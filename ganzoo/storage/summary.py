"""Contents of `summary.json`: the status, last metrics and best scores of a run."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from ganzoo.components.metric import Direction
from ganzoo.storage.run_directory import ALERT

if TYPE_CHECKING:
    from ganzoo.components.observer import RunView

Status = Literal["complete", "interrupted", "failed"]

SUMMARY = "summary.json"
POSITION = ("step", "epoch", "seconds")
SCORE = "score/"


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
    if run.error is not None:
        summary["error"] = f"{type(run.error).__name__}: {run.error}"
    return summary


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
