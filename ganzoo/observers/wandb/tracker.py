"""Sends what happens in a run to Weights & Biases; never costs the run a step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

from ganzoo.engine.grids import GIF
from ganzoo.engine.pictures import grid
from ganzoo.hookspecs import hookimpl
from ganzoo.observers.console import warn
from ganzoo.observers.metrics_log import SCORE, finite, status_of
from ganzoo.observers.wandb.artefacts import CheckpointArtefacts
from ganzoo.observers.wandb.panels import STEP, Panels, extremes
from ganzoo.observers.wandb.session import STOP_SECONDS, finish, first_line, start

if TYPE_CHECKING:
    import wandb
    from torch import Tensor

    from ganzoo.engine.alerts import Alert
    from ganzoo.engine.run import Run

EXIT_CODES = {"complete": 0, "failed": 1, "interrupted": 255}
"""255 together with "preempting" is how W&B tells a run that will go on from one that failed."""


class WandbTracker:
    """Sends the recipe, metrics, scores, grids and the film of a run to W&B.

    Every row goes under its step, and charts have "step" as their axis. Whatever fails on the way to W&B
    is said once and forgotten: `metrics.jsonl` is the truth, this is a view of it.
    """

    def __init__(self) -> None:
        self._starting: Thread | None = None
        self._tracked: wandb.Run | None = None
        self._panels: Panels | None = None
        self._artefacts: CheckpointArtefacts | None = None
        self._step = 0
        self._error: BaseException | None = None
        self._warned = False

    @hookimpl
    def run_started(self, run: Run) -> None:
        """Begin tracking, or go on with what an earlier part of the run began; the first steps need not wait for it."""
        self._step = run.step
        self._starting = Thread(target=self._start, args=(run,), daemon=True)
        self._starting.start()

    def _start(self, run: Run) -> None:
        try:
            tracked = start(run)
            if tracked is not None:
                self._panels, self._artefacts = Panels(tracked), CheckpointArtefacts(run, tracked)
                self._tracked = tracked
        except Exception as error:
            warn(f"W&B: tracking is off: {first_line(error)}; the metrics are in {run.directory.metrics}")

    def _started(self, within: float | None = None) -> wandb.Run | None:
        """The run to send to, once it has begun; None: there is none, or not yet `within` these seconds."""
        if self._starting is not None:
            self._starting.join(within)
            self._starting = None
        return self._tracked

    @hookimpl
    def step_ended(self, step: int, metrics: Mapping[str, float] | None) -> None:
        """Send the figures of a log point."""
        if metrics is not None:
            self._log(step, finite(metrics))

    @hookimpl
    def samples_ready(self, step: int, images: Tensor) -> None:
        """Send a grid of samples."""
        if self._started() is not None:
            import wandb
            from torchvision.transforms.functional import to_pil_image

            with self._surviving():
                picture = wandb.Image(to_pil_image(grid(images)), caption=f"step {step}")
                self._log(step, {"samples/grid": picture})

    @hookimpl
    def metrics_evaluated(self, step: int, scores: Mapping[str, float]) -> None:
        """Send scores."""
        self._log(step, {SCORE + name: value for name, value in finite(scores).items()})

    @hookimpl
    def alert_raised(self, step: int, alert: Alert) -> None:
        """Send an alert, which W&B mails or posts to whoever asked for it."""
        if (tracked := self._started()) is not None:
            with self._surviving():
                text = f"Step {step}: {alert.text}. Try {alert.remedy}."
                tracked.alert(title=alert.kind.replace("_", " "), text=text, level="WARN")

    @hookimpl
    def checkpoint_saved(self, path: Path) -> None:
        """Send the checkpoint, where every one is wanted."""
        if self._started() is not None and self._artefacts is not None:
            with self._surviving():
                self._artefacts.saved(path)

    @hookimpl
    def run_failed(self, error: BaseException) -> None:
        """Remember what the run ended by."""
        self._error = error

    @hookimpl
    def run_ended(self, run: Run) -> None:
        """Send the film, checkpoints and a summary; let W&B finish with the exit code that tells how the run ended."""
        status = status_of(run, self._error)
        patience = STOP_SECONDS if status == "interrupted" else None
        tracked, self._tracked = self._started(patience), None
        if tracked is None:
            return
        import wandb

        film = run.directory.samples / GIF
        with self._surviving():
            if run.recipe.samples.gif and film.is_file():
                tracked.log({"samples/evolution": wandb.Video(film), STEP: self._step}, step=self._step)
            tracked.log({STEP: self._step}, step=self._step, commit=True)  # no row follows that would undo the summary
            tracked.summary.update({**extremes(run.directory.read_metrics()), "status": status})
            if status == "interrupted":
                tracked.mark_preempting()
        if self._artefacts is not None and status != "interrupted":  # which is to go on
            with self._surviving():
                self._artefacts.ended()
        with self._surviving():
            try:
                finish(tracked, EXIT_CODES[status], patience)
            except TimeoutError:
                files = Path(tracked.dir).parent
                warn(f"W&B: the server does not take the last rows; upload them with: wandb sync {files}")
            else:
                if self._artefacts is not None and not tracked.offline:
                    self._artefacts.close()

    def _log(self, step: int, row: Mapping[str, Any]) -> None:
        if (tracked := self._started()) is not None:
            # W&B drops a row that comes after one of a later step, such as scores that took their time.
            self._step = max(step, self._step)
            with self._surviving():
                if self._panels is not None:
                    self._panels.define(row)
                tracked.log({**row, STEP: self._step}, step=self._step)

    @contextmanager
    def _surviving(self) -> Iterator[None]:
        """Have what fails inside said once, and go on."""
        try:
            yield
        except Exception as error:
            if not self._warned:
                warn(f"W&B: something is missing there, the run goes on: {first_line(error)}")
            self._warned = True
