"""Contents of `summary.json`: the status, last metrics and best scores of a run."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from ganzoo.errors import Interrupted, LostProcessError
from ganzoo.storage.run_directory import ALERT

if TYPE_CHECKING:
    from ganzoo.components.observer import RunView

Status = Literal["complete", "interrupted", "failed"]

SUMMARY = "summary.json"
POSITION = ("step", "epoch", "seconds")
SCORE = "score/"

# Words in the names of scores where lower is better; for all others higher is.
LOWER_IS_BETTER = frozenset(
    ("fd", "kd", "fid", "kid", "mmd", "swd", "distance", "divergence", "error", "loss", "memorization", "copies")
)
# Words in the names of scores that only warn: noise has the fewest copies, and a classifier may be confident on it.
WARNINGS = frozenset(("memorization", "copies", "confidence", "diversity"))


def status_of(run: RunView) -> Status:
    """Return the status of a run that ended."""
    if isinstance(run.error, Interrupted | KeyboardInterrupt | LostProcessError):
        return "interrupted"
    return "complete" if run.error is None and run.step >= run.total_steps else "failed"


def drop_non_finite(figures: Mapping[str, float]) -> dict[str, float]:
    """Return the finite ones among `figures`."""
    return {name: value for name, value in figures.items() if math.isfinite(value)}


def lower_is_better(score: str) -> bool:
    """Return whether a lower value of this score is better."""
    return not LOWER_IS_BETTER.isdisjoint(_words(score))


def is_rankable(score: str) -> bool:
    """Return whether runs can be ranked by this score; scores that only warn do not rank."""
    return WARNINGS.isdisjoint(_words(score))


def _words(score: str) -> list[str]:
    return re.split(r"[^a-z]+", score.lower())


def summarize(run: RunView, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the contents of `summary.json` from all rows of metrics, those before a resume included."""
    rates = [row["images_per_second"] for row in rows if "images_per_second" in row]
    logged = [row for row in rows if not any(name.startswith(SCORE) for name in row)]
    metrics = {name: value for name, value in logged[-1].items() if name not in POSITION} if logged else {}
    summary: dict[str, Any] = {
        "status": status_of(run),
        "steps": run.step,
        "total_steps": run.total_steps,
        "epoch": run.epoch,
        "seconds": run.seconds,
        "images_per_second": {"median": statistics.median(rates), "last": rates[-1]} if rates else {},
        "metrics": metrics,
        "scores": best_and_last(rows),
        "alerts": [{"step": row["step"], **row[ALERT]} for row in run.directory.read_alerts()],
    }
    if run.error is not None:
        summary["error"] = f"{type(run.error).__name__}: {run.error}"
    return summary


def best_and_last(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, dict[str, float]]]:
    """Return the best and the last value of each score, with their steps."""
    best: dict[str, dict[str, float]] = {}
    last: dict[str, dict[str, float]] = {}
    for row in rows:
        for key, value in row.items():
            if not key.startswith(SCORE):
                continue
            name = key.removeprefix(SCORE)
            last[name] = {"value": value, "step": row["step"]}
            sign = -1 if lower_is_better(name) else 1
            if name not in best or sign * value > sign * best[name]["value"]:
                best[name] = last[name]
    return {"best": best, "last": last}
