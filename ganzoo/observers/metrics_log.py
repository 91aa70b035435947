"""Write `metrics.jsonl` row by row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

from ganzoo.registry.hookspecs import hookimpl
from ganzoo.storage.run_directory import ALERT
from ganzoo.storage.summary import SCORE, drop_non_finite

if TYPE_CHECKING:
    from ganzoo.components.observer import Alert, RunView


class MetricsLog:
    """Appends a row at each log point, evaluation and alert.

    A row has "step", "epoch" and "seconds" (of training, over all parts of a resumed run) beside its figures;
    figures that are not finite are left out, since JSON cannot hold them.
    """

    @hookimpl
    def step_ended(self, run: RunView, step: int, metrics: Mapping[str, float] | None) -> None:
        """Write the figures of a log point.

        Raises:
            OutputError: the disk is full.
        """
        if metrics is not None:
            self._append(run, step, metrics)

    @hookimpl
    def figures_logged(self, run: RunView, step: int, figures: Mapping[str, float]) -> None:
        """Write what an observer logged, in a row of its own.

        Raises:
            OutputError: as above.
        """
        self._append(run, step, figures)

    @hookimpl
    def metrics_evaluated(self, run: RunView, step: int, scores: Mapping[str, float]) -> None:
        """Write scores in a row of their own, each under "score/<name>".

        Raises:
            OutputError: as above.
        """
        self._append(run, step, {SCORE + name: value for name, value in scores.items()})

    @hookimpl
    def alert_raised(self, run: RunView, step: int, alert: Alert) -> None:
        """Write an alert in a row of its own, under "alert".

        Raises:
            OutputError: as above.
        """
        run.directory.append_metrics({**_position(run, step), ALERT: asdict(alert)})

    def _append(self, run: RunView, step: int, figures: Mapping[str, float]) -> None:
        run.directory.append_metrics(drop_non_finite(_position(run, step) | dict(figures)))


def _position(run: RunView, step: int) -> dict[str, float]:
    return {"step": step, "epoch": run.epoch, "seconds": run.seconds}
