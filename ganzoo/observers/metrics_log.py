"""Writes `metrics.jsonl` row by row, and `summary.json` at the end: the truth of a run."""

from __future__ import annotations

import math
import re
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

from ganzoo.engine.run_directory import ALERT
from ganzoo.errors import LostProcessError, OutputError
from ganzoo.hookspecs import hookimpl
from ganzoo.observers.console import warn

if TYPE_CHECKING:
    from ganzoo.engine.alerts import Alert
    from ganzoo.engine.run import Run

Status = Literal["complete", "interrupted", "failed"]

SUMMARY = "summary.json"
POSITION = ("step", "epoch", "seconds")
SCORE = "score/"

# Words in the name of a score that is better when it is lower; any other is better when it is higher.
LOWER_IS_BETTER = frozenset(
    ("fd", "kd", "fid", "kid", "mmd", "swd", "distance", "divergence", "error", "loss", "memorisation", "copies")
)

# Words in the name of a score that warns of something: noise has the fewest copies, and a classifier may be sure of it.
WARNINGS = frozenset(("memorisation", "copies", "confidence", "diversity"))


class MetricsLog:
    """Appends a row at each log point and at each evaluation.

    A row has "step", "epoch" and "seconds" (of training, over all parts of a resumed run) beside its figures;
    figures that are not finite are left out, since JSON has no word for them.
    """

    def __init__(self) -> None:
        self._error: BaseException | None = None
        self._started = time.monotonic()

    @hookimpl
    def run_started(self, run: Run) -> None:
        """Go on from the last row of an earlier part, whose summary speaks of an end that was none."""
        if run.resumed_from is not None:
            (run.directory.path / SUMMARY).unlink(missing_ok=True)
        rows = run.directory.read_metrics()
        before = float(rows[-1].get("seconds", 0.0)) if rows else 0.0
        self._started = time.monotonic() - before

    @hookimpl
    def step_ended(self, run: Run, step: int, metrics: Mapping[str, float] | None) -> None:
        """Write the figures of a log point.

        Raises:
            OutputError: the disk is full; going on without metrics would be in vain.
        """
        if metrics is not None:
            self._append(run, step, metrics)

    @hookimpl
    def metrics_evaluated(self, run: Run, step: int, scores: Mapping[str, float]) -> None:
        """Write scores in a row of their own, each under "score/<name>".

        Raises:
            OutputError: as above.
        """
        self._append(run, step, {SCORE + name: value for name, value in scores.items()})

    @hookimpl
    def alert_raised(self, run: Run, step: int, alert: Alert) -> None:
        """Write an alert in a row of its own, under "alert".

        Raises:
            OutputError: as above.
        """
        run.directory.append_metrics({**self._position(run, step), ALERT: asdict(alert)})

    @hookimpl
    def run_failed(self, error: BaseException) -> None:
        """Remember what the run ended by."""
        self._error = error

    @hookimpl
    def run_ended(self, run: Run) -> None:
        """Write the summary, or say that it cannot be: there is nothing left to stop."""
        try:
            summary = summarize(run, self._error, run.directory.read_metrics(), self._seconds())
            run.directory.write_json(SUMMARY, summary)
        except (OutputError, OSError) as error:
            warn(f"the summary of the run is missing: {error}")

    def _seconds(self) -> float:
        return round(time.monotonic() - self._started, 3)

    def _append(self, run: Run, step: int, figures: Mapping[str, float]) -> None:
        run.directory.append_metrics(finite(self._position(run, step) | dict(figures)))

    def _position(self, run: Run, step: int) -> dict[str, float]:
        return {"step": step, "epoch": run.epoch, "seconds": self._seconds()}


def status_of(run: Run, error: BaseException | None) -> Status:
    """How a run ended, given the error that it ended by, if any."""
    from ganzoo.engine.run import Interrupted

    if isinstance(error, Interrupted | KeyboardInterrupt | LostProcessError):
        return "interrupted"
    if error is None and run.step >= run.total_steps:
        return "complete"
    # Without an error an observer before this one failed in telling of the end; the signal still says why.
    return "interrupted" if error is None and run.stop_signal is not None else "failed"


def finite(figures: Mapping[str, float]) -> dict[str, float]:
    """The figures that are finite."""
    return {name: value for name, value in figures.items() if math.isfinite(value)}


def lower_is_better(score: str) -> bool:
    """Whether the best value of a score of this name is its lowest."""
    return not LOWER_IS_BETTER.isdisjoint(_words(score))


def tells_better(score: str) -> bool:
    """Whether one run is better than another by a score of this name, and not only free of what it warns of."""
    return WARNINGS.isdisjoint(_words(score))


def _words(score: str) -> list[str]:
    return re.split(r"[^a-z]+", score.lower())


def summarize(
    run: Run, error: BaseException | None, rows: Sequence[Mapping[str, Any]], seconds: float
) -> dict[str, Any]:
    """What `summary.json` holds.

    Args:
        run: as it stands at its end.
        error: what it ended by, if anything.
        rows: all rows of metrics, those of earlier parts of a resumed run included.
        seconds: time spent in training, over all parts.
    """
    rates = [row["images_per_second"] for row in rows if "images_per_second" in row]
    logged = [row for row in rows if not any(name.startswith(SCORE) for name in row)]
    metrics = {name: value for name, value in logged[-1].items() if name not in POSITION} if logged else {}
    summary: dict[str, Any] = {
        "status": status_of(run, error),
        "steps": run.step,
        "total_steps": run.total_steps,
        "epoch": run.epoch,
        "seconds": seconds,
        "images_per_second": {"median": statistics.median(rates), "last": rates[-1]} if rates else {},
        "metrics": metrics,
        "scores": best_and_last(rows),
        "alerts": [{"step": row["step"], **row[ALERT]} for row in run.directory.read_alerts()],
    }
    if error is not None:
        summary["error"] = f"{type(error).__name__}: {error}"
    return summary


def best_and_last(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, dict[str, float]]]:
    """The best and the last value of each score, each with its step."""
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
