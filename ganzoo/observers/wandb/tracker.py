"""Sends what happens in a run to Weights & Biases; never costs the run a step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

from ganzoo.observers.wandb.artifacts import CheckpointArtifacts
from ganzoo.observers.wandb.errors import in_short
from ganzoo.observers.wandb.panels import STEP, Panels, extremes
from ganzoo.observers.wandb.session import STOP_SECONDS, finish, start
from ganzoo.registry.hookspecs import hookimpl
from ganzoo.sampling.image_io import GIF, grid
from ganzoo.storage.summary import SCORE, drop_non_finite, status_of
from ganzoo.terminal import warn

if TYPE_CHECKING:
    import wandb
    from torch import Tensor

    from ganzoo.components.observer import Alert
    from ganzoo.training.run import Run

EXIT_CODES = {"complete": 0, "failed": 1, "interrupted": 255}
"""255 together with "preempting" is how W&B tells a run that will go on from one that failed."""


class WandbTracker:
    """Sends the recipe, metrics, scores, grids and the film of a run to W&B.

    Every row goes under its step, and charts have "step" as their axis. Whatever fails on the way to W&B
    is said once and forgotten: `metrics.jsonl` is the truth, this is a view of it. No step waits for W&B to
    begin, which takes a server that is away many seconds: what happens meanwhile is sent then.
    """

    def __init__(self) -> None:
        self._starting: Thread | None = None
        self._tracked: wandb.Run | None = None
        self._panels: Panels | None = None
        self._artifacts: CheckpointArtifacts | None = None
        self._every_checkpoint = False
        self._waiting: list[Callable[[wandb.Run], None]] = []
        self._step = 0
        self._ended = False
        self._error: BaseException | None = None
        self._warned = False

    @hookimpl
    def run_started(self, run: Run) -> None:
        """Begin tracking, or go on with what an earlier part of the run began."""
        self._step = run.step
        self._every_checkpoint = run.recipe.tracking.wandb.checkpoints == "all"
        self._starting = Thread(target=self._start, args=(run,), daemon=True)
        self._starting.start()

    def _start(self, run: Run) -> None:
        try:
            tracked = start(run)
            if tracked is not None:
                self._panels, self._artifacts = Panels(tracked), CheckpointArtifacts(run, tracked)
                self._tracked = tracked
        except Exception as error:
            if not self._ended:
                warn(f"W&B: tracking is off: {in_short(error)}; the metrics are in {run.directory.metrics}")

    @hookimpl
    def step_ended(self, step: int, metrics: Mapping[str, float] | None) -> None:
        """Send the figures of a log point."""
        if metrics is not None:
            self._log(step, drop_non_finite(metrics))

    @hookimpl
    def samples_ready(self, step: int, images: Tensor) -> None:
        """Send a grid of samples."""
        if self._is_off():
            return
        from torchvision.transforms.functional import to_pil_image

        picture = to_pil_image(grid(images))

        def send(tracked: wandb.Run) -> None:
            import wandb

            self._log_now(tracked, step, {"samples/grid": wandb.Image(picture, caption=f"step {step}")})

        self._send(send)

    @hookimpl
    def metrics_evaluated(self, step: int, scores: Mapping[str, float]) -> None:
        """Send scores."""
        self._log(step, {SCORE + name: value for name, value in drop_non_finite(scores).items()})

    @hookimpl
    def alert_raised(self, step: int, alert: Alert) -> None:
        """Send an alert, which W&B mails or posts to whoever asked for it."""
        title, text = alert.kind.replace("_", " "), f"Step {step}: {alert.text}. Try {alert.remedy}."
        self._send(lambda tracked: tracked.alert(title=title, text=text, level="WARN"))

    @hookimpl
    def checkpoint_saved(self, path: Path) -> None:
        """Send the checkpoint, where every one is wanted; waits for W&B to begin, lest it be superseded by then."""
        if self._every_checkpoint and self._starting is not None:
            self._starting.join()

            def send(_: wandb.Run) -> None:
                if self._artifacts is not None:
                    self._artifacts.saved(path)

            self._send(send)

    @hookimpl
    def run_failed(self, error: BaseException) -> None:
        """Remember what the run ended by."""
        self._error = error

    @hookimpl
    def run_ended(self, run: Run) -> None:
        """Send the film, checkpoints and a summary; let W&B finish with the exit code that tells how the run ended."""
        status = status_of(run, self._error)
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

        film = run.directory.samples / GIF
        with self._surviving():
            if run.recipe.samples.gif and film.is_file():
                tracked.log({"samples/evolution": wandb.Video(film), STEP: self._step}, step=self._step)
            tracked.log({STEP: self._step}, step=self._step, commit=True)  # no row follows that would undo the summary
            tracked.summary.update({**extremes(run.directory.read_metrics()), "status": status})
            if status == "interrupted":
                tracked.mark_preempting()
        if self._artifacts is not None and status != "interrupted":  # which is to go on
            with self._surviving():
                self._artifacts.ended()
        with self._surviving():
            try:
                finish(tracked, EXIT_CODES[status], patience)
            except TimeoutError:
                files = Path(tracked.dir).parent
                warn(f"W&B: the server does not take the last rows; upload them with: wandb sync {files}")
            else:
                if self._artifacts is not None and not tracked.offline:
                    self._artifacts.close()

    def _is_off(self) -> bool:
        """Whether nothing is or will be tracked."""
        return self._tracked is None and (self._starting is None or not self._starting.is_alive())

    def _send(self, send: Callable[[wandb.Run], None]) -> None:
        """Have something sent: at once, or when tracking has begun."""
        self._waiting.append(send)
        if self._starting is None or not self._starting.is_alive():
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
                warn(f"W&B: something is missing there, the run goes on: {in_short(error)}")
            self._warned = True
