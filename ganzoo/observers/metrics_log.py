"""Writes `metrics.jsonl` row by row, and `summary.json` at the end: the truth of a run."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

from ganzoo.errors import OutputError
from ganzoo.registry.hookspecs import hookimpl
from ganzoo.storage.run_directory import ALERT
from ganzoo.storage.summary import SCORE, SUMMARY, drop_non_finite, summarize
from ganzoo.terminal import warn

if TYPE_CHECKING:
    from ganzoo.components.observer import Alert
    from ganzoo.training.run import Run


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
        run.directory.append_metrics(drop_non_finite(self._position(run, step) | dict(figures)))

    def _position(self, run: Run, step: int) -> dict[str, float]:
        return {"step": step, "epoch": run.epoch, "seconds": self._seconds()}
