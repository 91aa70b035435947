"""Send metrics, scores, samples, alerts and checkpoints of a run to Weights & Biases, without delaying its steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torchvision.transforms.functional import to_pil_image

from ganzoo.plugin import AgentSweep, Alert, RecipeView, Report, RunDirectory, RunView, Tracker, hookimpl, warn
from ganzoo.sampling.image_io import GIF
from ganzoo_trackers.configs import WandbConfig
from ganzoo_trackers.facts import SCORE, finite, later_scores, time_to_target
from ganzoo_trackers.wandb.checkpoints import CheckpointArtifacts
from ganzoo_trackers.wandb.lineage import declare_dataset, declare_parent
from ganzoo_trackers.wandb.record import RECORD
from ganzoo_trackers.wandb.report import publish
from ganzoo_trackers.wandb.samples import sample_table, staged
from ganzoo_trackers.wandb.session import FINISH_SECONDS, STOP_SECONDS, finish, go_on, in_short, start, within
from ganzoo_trackers.wandb.sweep import register

if TYPE_CHECKING:
    import wandb
STEP, LATER = "step", "later"
ARTIFACT_SECONDS = 5.0
"""Longest that the end of a run waits for the server to answer what W&B asks it before it takes an artifact."""
EXTREMES = ("loss/", "probability/", "logits/", "gradient_norm/", "penalty/", SCORE)
"""Prefixes of the metrics whose lowest and highest values W&B's summary holds beside the last."""

EXIT_CODES = {"complete": 0, "reached": 0, "failed": 1, "interrupted": 255}
"""255 together with "preempting" is how W&B marks a run that will be resumed."""


class WandbTracker(Tracker):
    """Sends the recipe, metrics, scores, grids and the animation of a run to W&B.

    Rows go under their step, which is the axis of every chart. W&B makes a panel of each name and a section of its part
    before the slash; all trainers use the same names, so the panels of different runs line up.

    A failure of W&B is warned of once and ignored: `metrics.jsonl` has everything. No step waits for W&B to start,
    which takes many seconds where the server does not answer; events before that are sent once it has started.
    """

    Config = WandbConfig
    config: WandbConfig

    def __init__(self, config: WandbConfig = WandbConfig()) -> None:  # noqa: B008
        super().__init__(config)
        self._starting: Thread | None = None
        self._tracked: wandb.Run | None = None
        self._artifacts: CheckpointArtifacts | None = None
        self._lineage: Thread | None = None
        self._samples: Tensor | None = None
        self._defined: set[str] = set()
        self._waiting: list[Callable[[wandb.Run], object]] = []
        self._step = 0
        self._later = 0
        self._ended = False
        self._missing = ""
        self._warned = False

    @hookimpl
    def run_started(self, run: RunView) -> None:
        """Start tracking, or go on tracking a resumed run."""
        self._step = run.step
        self._starting = Thread(target=self._start, args=(run,), daemon=True)
        self._starting.start()

    def _start(self, run: RunView) -> None:
        try:
            tracked = start(run)
            if tracked is not None:
                define_axis(tracked)
                self._artifacts = CheckpointArtifacts(run, tracked)
                self._later = run.directory.read_json(RECORD).get(LATER, 0)
                self._lineage = Thread(target=self._declare, args=(run, tracked), daemon=True)
                self._lineage.start()
                self._tracked = tracked
        except Exception as error:
            if not self._ended:
                warn(f"W&B: tracking is off: {in_short(error)}; the metrics are in {run.directory.metrics}")

    def _declare(self, run: RunView, tracked: wandb.Run) -> None:
        """Declare what the run is made from."""
        parent = run.directory.read_json(RECORD).get("parent")
        with self._noting():
            declare_dataset(run, tracked)
        if parent:
            with self._noting():
                declare_parent(tracked, parent)

    @hookimpl
    def step_ended(self, step: int, metrics: Mapping[str, float] | None) -> None:
        """Send the metrics of a log point."""
        if metrics is not None:
            self._log(step, finite(metrics))

    @hookimpl
    def figures_logged(self, step: int, figures: Mapping[str, float]) -> None:
        """Send what an observer logged."""
        self._log(step, finite(figures))

    @hookimpl
    def samples_ready(self, run: RunView, step: int, images: Tensor, grid: Tensor | None) -> None:
        """Send a grid of samples."""
        if grid is None or (self._tracked is None and not self._is_starting()):
            return
        picture, classes = to_pil_image(grid), run.sample_classes
        self._samples = images

        def send(tracked: wandb.Run) -> None:
            import wandb

            caption = f"step {step}" + (f"; classes, in turn: {classes}" if classes else "")
            self._log_now(tracked, step, {"samples/grid": wandb.Image(picture, caption=caption)})

        self._send(send)

    @hookimpl
    def metrics_evaluated(self, step: int, scores: Mapping[str, float]) -> None:
        """Send scores."""
        self._log(step, finite(scores, SCORE))

    @hookimpl
    def alert_raised(self, step: int, alert: Alert) -> None:
        """Send an alert, which W&B mails or posts to those who subscribed."""
        title, text = alert.kind.replace("_", " "), f"Step {step}: {alert.text}. Try {alert.remedy}."
        self._send(lambda tracked: tracked.alert(title=title, text=text, level="WARN"))

    @hookimpl
    def checkpoint_saved(self, run: RunView, path: Path) -> None:
        """Send the checkpoint where all are wanted; waits for W&B to start, before the checkpoint is removed."""
        if run.recipe.tracking.wandb.checkpoints == "all" and self._starting is not None:
            self._starting.join()

            if (artifacts := self._artifacts) is not None:
                self._send(lambda _: artifacts.send(path))

    @hookimpl
    def run_ended(self, run: RunView) -> None:
        """Send the animation, checkpoints and a summary, and finish with the exit code for how the run ended."""
        status = run.status
        patience = STOP_SECONDS if status == "interrupted" else None
        if self._starting is not None:
            self._starting.join(patience)
            self._ended = True
            if self._starting.is_alive():
                warn(f"W&B: had not begun when the run was stopped; its metrics are in {run.directory.metrics}")
            self._send_what_waited()
        tracked, self._tracked = self._tracked, None
        if tracked is None:
            return
        import wandb

        animation, record = run.directory.samples / GIF, run.directory.read_json(RECORD)
        with self._surviving():
            run.directory.write_json(RECORD, record | {"step": self._step})
        if self._lineage is not None:
            self._lineage.join(ARTIFACT_SECONDS if patience is None else patience)
            if status != "interrupted" and not self._lineage.is_alive():  # else the server does not answer
                self._send_table(run, tracked)
        with self._surviving():
            if run.recipe.samples.gif and animation.is_file():
                self._log_now(tracked, self._step, {"samples/evolution": wandb.Video(animation)})
            # No row follows that would undo the summary.
            tracked.log({STEP: self._step}, step=self._step + self._later, commit=True)
            reached = time_to_target(run)
            if self.config.objective in reached:
                reached["objective"] = reached[self.config.objective]
            tracked.summary.update({**extremes(run.directory.read_metrics()), "status": status, **reached})
            if status == "interrupted":
                tracked.mark_preempting()
        if self._artifacts is not None and status != "interrupted":  # which is to go on
            with self._surviving():
                sent, begun = self._artifacts.ended(), time.monotonic()
                if sent is not None and self.config.registry:
                    self._artifacts.link(sent, FINISH_SECONDS)
                    patience = max(STOP_SECONDS, FINISH_SECONDS + 5 - (time.monotonic() - begun))
        with self._surviving():
            try:
                finish(tracked, EXIT_CODES[status], patience)
            except TimeoutError:
                files = Path(tracked.dir).parent
                warn(f"W&B: the server does not take the last rows; upload them with: wandb sync {files}")
            else:
                if self._missing and not self._warned:
                    warn(f"W&B: something is missing there: {self._missing}")
                if self._artifacts is not None and not tracked.offline:
                    self._artifacts.close()

    def send_scores(self, directory: RunDirectory, recipe: RecipeView, step: int, scores: Mapping[str, float]) -> None:
        """Send scores of a later evaluation to the run that they are of, at their step on the axis of its charts.

        W&B takes rows in the order of its own steps alone, so that each such row shifts those of a run that is resumed.
        """
        figures = later_scores(directory, recipe, scores)
        tracked = go_on(directory, recipe) if figures else None
        if tracked is None:
            return
        rows, record = directory.read_metrics(), directory.read_json(RECORD)
        later = record.get(LATER, 0) + 1
        define_axis(tracked)
        last = max([step, *(row["step"] for row in rows)])
        tracked.log({**figures, STEP: step}, step=max(last + later, tracked.step), commit=True)
        known = extremes([*rows, {**figures, STEP: step}])
        tracked.summary.update({name: known.get(name, value) for name, value in figures.items()})
        directory.write_json(RECORD, record | {LATER: later})
        status = directory.read_json("summary.json").get("status", "complete")
        if status == "interrupted":
            tracked.mark_preempting()
        try:
            finish(tracked, EXIT_CODES.get(status, 0))
        except TimeoutError:
            warn(f"W&B: the server does not take the scores; upload them with: wandb sync {Path(tracked.dir).parent}")

    def register_sweep(self, sweep: AgentSweep) -> str:
        """Create the sweep on W&B, whose agents call `ganzoo run` on any number of machines."""
        return register(sweep, self.config)

    def publish(self, report: Report) -> dict[str, str]:
        """Build a workspace of the runs, and a report with their tables and curves."""
        return publish(report)

    def _send_table(self, run: RunView, tracked: wandb.Run) -> None:
        """Send a table of the last samples."""
        images = self._samples

        if images is None or not self.config.table:
            return

        def send() -> None:
            with staged(tracked):
                self._log_now(tracked, self._step, sample_table(run, images))

        with self._noting():
            within(ARTIFACT_SECONDS, send)

    def _is_starting(self) -> bool:
        return self._starting is not None and self._starting.is_alive()

    def _send(self, send: Callable[[wandb.Run], object]) -> None:
        """Send at once, or when tracking has started."""
        self._waiting.append(send)
        if not self._is_starting():
            self._send_what_waited()

    def _send_what_waited(self) -> None:
        waiting, self._waiting = self._waiting, []
        for send in waiting:
            if self._tracked is not None:
                with self._surviving():
                    send(self._tracked)

    def _log(self, step: int, row: Mapping[str, Any]) -> None:
        self._send(lambda tracked: self._log_now(tracked, step, row))

    def _log_now(self, tracked: wandb.Run, step: int, row: Mapping[str, Any]) -> None:
        # W&B drops a row that comes after one of a later step, such as scores that took their time.
        self._step = max(step, self._step)
        # One by one: W&B ignores the summary of a pattern such as "loss/*" where another pattern matches as well.
        for name in row:
            if name not in self._defined and name.startswith(EXTREMES) and "*" not in name:  # else it is a pattern
                tracked.define_metric(name, step_metric=STEP, summary="min,max,last")
                self._defined.add(name)
        objective = self.config.objective
        optimized = {"objective": row[objective]} if objective is not None and objective in row else {}
        tracked.log({**row, **optimized, STEP: self._step}, step=self._step + self._later)

    @contextmanager
    def _surviving(self) -> Iterator[None]:
        """Warn of the first failure inside, and go on."""
        try:
            yield
        except Exception as error:
            if not self._warned:
                warn(f"W&B: something is missing there, the run goes on: {in_short(error)}")
            self._warned = True

    @contextmanager
    def _noting(self) -> Iterator[None]:
        """Note a failure inside to be told at the end, where the server has everything else, and go on."""
        try:
            yield
        except Exception as error:
            self._missing = in_short(error)


def define_axis(tracked: wandb.Run) -> None:
    """Set the training step as the axis of every chart."""
    tracked.define_metric(STEP, hidden=True)
    tracked.define_metric("*", step_metric=STEP)


def extremes(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Find the lowest, highest and last value of each metric, over all parts of a resumed run.

    W&B knows only the part that it tracks.
    """
    found: dict[str, dict[str, float]] = {}
    for row in rows:
        for name, value in row.items():
            if name.startswith(EXTREMES):
                known = found.get(name, {"min": value, "max": value})
                found[name] = {"min": min(known["min"], value), "max": max(known["max"], value), "last": value}
    return found
