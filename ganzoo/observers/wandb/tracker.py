"""Send metrics, scores, samples and alerts of a run to Weights & Biases, without delaying its steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

from ganzoo.observers.wandb.account import in_short
from ganzoo.observers.wandb.artifacts import CheckpointArtifacts
from ganzoo.observers.wandb.session import STOP_SECONDS, finish, start
from ganzoo.registry.hookspecs import hookimpl
from ganzoo.sampling.image_io import GIF
from ganzoo.storage.summary import SCORE, drop_non_finite, status_of
from ganzoo.terminal import warn

if TYPE_CHECKING:
    import wandb
    from torch import Tensor

    from ganzoo.components.observer import Alert, RunView

STEP = "step"
EXTREMES = ("loss/", "probability/", "gradient_norm/", "penalty/", SCORE)
"""Prefixes of the metrics whose lowest and highest values W&B's summary holds beside the last."""

EXIT_CODES = {"complete": 0, "failed": 1, "interrupted": 255}
"""255 together with "preempting" is how W&B marks a run that will be resumed."""


class WandbTracker:
    """Sends the recipe, metrics, scores, grids and the animation of a run to W&B.

    Rows go under their step, which is the axis of every chart. A failure of W&B is warned of once and ignored:
    `metrics.jsonl` has everything. No step waits for W&B to start, which takes many seconds where the server does not
    answer; events before that are sent once it has started.
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
        self._warned = False

    @hookimpl
    def run_started(self, run: RunView) -> None:
        """Start tracking, or go on tracking a resumed run."""
        self._step = run.step
        self._every_checkpoint = run.recipe.tracking.wandb.checkpoints == "all"
        self._starting = Thread(target=self._start, args=(run,), daemon=True)
        self._starting.start()

    def _start(self, run: RunView) -> None:
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
        """Send the metrics of a log point."""
        if metrics is not None:
            self._log(step, drop_non_finite(metrics))

    @hookimpl
    def samples_ready(self, step: int, grid: Tensor) -> None:
        """Send a grid of samples."""
        if self._is_off():
            return
        from torchvision.transforms.functional import to_pil_image

        picture = to_pil_image(grid)

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
        """Send an alert, which W&B mails or posts to those who subscribed."""
        title, text = alert.kind.replace("_", " "), f"Step {step}: {alert.text}. Try {alert.remedy}."
        self._send(lambda tracked: tracked.alert(title=title, text=text, level="WARN"))

    @hookimpl
    def checkpoint_saved(self, path: Path) -> None:
        """Send the checkpoint where all are wanted; waits for W&B to start, before the checkpoint is removed."""
        if self._every_checkpoint and self._starting is not None:
            self._starting.join()

            def send(_: wandb.Run) -> None:
                if self._artifacts is not None:
                    self._artifacts.saved(path)

            self._send(send)

    @hookimpl
    def run_ended(self, run: RunView) -> None:
        """Send the animation, checkpoints and a summary, and finish with the exit code for how the run ended."""
        status = status_of(run)
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

        animation = run.directory.samples / GIF
        with self._surviving():
            if run.recipe.samples.gif and animation.is_file():
                tracked.log({"samples/evolution": wandb.Video(animation), STEP: self._step}, step=self._step)
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
        """Check whether nothing is or will be tracked."""
        return self._tracked is None and (self._starting is None or not self._starting.is_alive())

    def _send(self, send: Callable[[wandb.Run], None]) -> None:
        """Send at once, or when tracking has started."""
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
        """Warn of the first failure inside, and go on."""
        try:
            yield
        except Exception as error:
            if not self._warned:
                warn(f"W&B: something is missing there, the run goes on: {in_short(error)}")
            self._warned = True


class Panels:
    """Makes the training step the axis of every chart.

    W&B makes a panel of each name and a section of its part before the slash; all trainers use the same names, so
    the panels of different runs line up.
    """

    def __init__(self, tracked: wandb.Run) -> None:
        self._tracked = tracked
        self._defined = {STEP}
        tracked.define_metric(STEP, hidden=True)
        tracked.define_metric("*", step_metric=STEP)

    def define(self, names: Iterable[str]) -> None:
        """Define how metrics of these names are summarized, before the first row that has them.

        One by one: W&B ignores the summary of a pattern such as "loss/*" where another pattern matches as well.
        """
        for name in names:
            if name not in self._defined and name.startswith(EXTREMES):
                self._tracked.define_metric(name, step_metric=STEP, summary="min,max,last")
            self._defined.add(name)


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
