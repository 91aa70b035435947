"""Send metrics, scores, samples, alerts and checkpoints of a run to Weights & Biases, without delaying its steps."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torchvision.transforms.functional import to_pil_image

from ganzoo.plugin import AgentSweep, Alert, Report, RunView, Tracker, hookimpl, warn
from ganzoo.sampling.image_io import GIF
from ganzoo_trackers.configs import WandbConfig
from ganzoo_trackers.facts import SCORE, finite, time_to_target
from ganzoo_trackers.wandb.report import publish
from ganzoo_trackers.wandb.session import STOP_SECONDS, finish, in_short, start
from ganzoo_trackers.wandb.sweep import register

if TYPE_CHECKING:
    import wandb
STEP = "step"
EXTREMES = ("loss/", "probability/", "gradient_norm/", "penalty/", SCORE)
"""Prefixes of the metrics whose lowest and highest values W&B's summary holds beside the last."""

FOLDER = "artifacts"
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
        self._defined: set[str] = set()
        self._waiting: list[Callable[[wandb.Run], None]] = []
        self._step = 0
        self._ended = False
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
                tracked.define_metric(STEP, hidden=True)
                tracked.define_metric("*", step_metric=STEP)
                self._artifacts = CheckpointArtifacts(run, tracked)
                self._tracked = tracked
        except Exception as error:
            if not self._ended:
                warn(f"W&B: tracking is off: {in_short(error)}; the metrics are in {run.directory.metrics}")

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
    def samples_ready(self, run: RunView, step: int, grid: Tensor | None) -> None:
        """Send a grid of samples."""
        if grid is None or (self._tracked is None and not self._is_starting()):
            return
        picture, classes = to_pil_image(grid), run.sample_classes

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

        animation = run.directory.samples / GIF
        with self._surviving():
            if run.recipe.samples.gif and animation.is_file():
                tracked.log({"samples/evolution": wandb.Video(animation), STEP: self._step}, step=self._step)
            tracked.log({STEP: self._step}, step=self._step, commit=True)  # no row follows that would undo the summary
            tracked.summary.update({**extremes(run.directory.read_metrics()), "status": status, **time_to_target(run)})
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

    def register_sweep(self, sweep: AgentSweep) -> str:
        """Create the sweep on W&B, whose agents call `ganzoo run` on any number of machines."""
        return register(sweep, self.config)

    def publish(self, report: Report) -> dict[str, str]:
        """Build a workspace of the runs, and a report with their tables and curves."""
        return publish(report)

    def _is_starting(self) -> bool:
        return self._starting is not None and self._starting.is_alive()

    def _send(self, send: Callable[[wandb.Run], None]) -> None:
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
            if name not in self._defined and name.startswith(EXTREMES):
                tracked.define_metric(name, step_metric=STEP, summary="min,max,last")
                self._defined.add(name)
        objective = self.config.objective
        optimized = {"objective": row[objective]} if objective is not None and objective in row else {}
        tracked.log({**row, **optimized, STEP: self._step}, step=self._step)

    @contextmanager
    def _surviving(self) -> Iterator[None]:
        """Warn of the first failure inside, and go on."""
        try:
            yield
        except Exception as error:
            if not self._warned:
                warn(f"W&B: something is missing there, the run goes on: {in_short(error)}")
            self._warned = True


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


class CheckpointArtifacts:
    """Sends the checkpoints that `tracking.wandb.checkpoints` asks for.

    W&B reads files late, in an offline run at `wandb sync`, when the checkpoint may have been removed. So each is kept
    until then by hard links beside W&B's own file, which take no disk space.
    """

    def __init__(self, run: RunView, tracked: wandb.Run) -> None:
        self._run = run
        self._tracked = tracked
        self._which = run.recipe.tracking.wandb.checkpoints
        self._folder = Path(tracked.dir).resolve().parent / FOLDER

    def ended(self) -> None:
        """Send the best and the last checkpoint at the end of a run, where these are wanted.

        The last is sent last, since W&B calls that "latest"; it stores equal files once.
        """
        folders = [path for path in self._run.directory.checkpoints.glob("step_*") if path.name[5:].isdecimal()]
        checkpoints = sorted(folders, key=checkpoint_step)
        if self._which is False or not checkpoints:
            return
        best = best_checkpoint(checkpoints, self._run)
        if best is not None:
            self.send(best, "best")
        if checkpoints[-1] != best and (self._which is True or (self._which == "all" and best is not None)):
            self.send(checkpoints[-1])

    def close(self) -> None:
        """Remove the links once the server has everything."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def send(self, checkpoint: Path, *aliases: str) -> None:
        """Send a checkpoint under the alias of its step, and these."""
        import wandb

        step, name = checkpoint_step(checkpoint), self._run.recipe.run.name
        artifact = wandb.Artifact(
            f"{name}-{self._tracked.id}",
            type="model",
            description=f"{name} at step {step}: a run directory, for `ganzoo sample` and the like",
            metadata=describe_checkpoint(self._run, step),
        )
        kept = self._folder / checkpoint.name
        kept.mkdir(parents=True, exist_ok=True)
        inside = Path("checkpoints") / checkpoint.name
        files = {"recipe.toml": self._run.directory.path / "recipe.toml"}
        files |= {str(inside / file.name): file for file in sorted(checkpoint.iterdir())}
        for place, file in files.items():
            target = kept / file.name
            if not target.exists():
                link(file, target)
            artifact.add_file(str(target), name=place, policy="immutable", skip_cache=True)
        self._tracked.log_artifact(artifact, aliases=[f"step-{step}", *aliases])


def describe_checkpoint(run: RunView, step: int) -> dict[str, Any]:
    """Make the metadata of an artifact: the step, what it was made with, and its scores."""
    rows = [row for row in run.directory.read_metrics() if row["step"] == step]
    scores = {name: value for row in rows for name, value in row.items() if name.startswith(SCORE)}
    return {
        "step": step,
        "seed": run.recipe.run.seed,
        "generator": run.recipe.generator.name,
        "dataset": run.recipe.dataset.name,
        "plugins": dict(run.plugin_versions),
        "scores": {name.removeprefix(SCORE): value for name, value in scores.items()},
    }


def checkpoint_step(folder: Path) -> int:
    """Return the step of a checkpoint from the name of its folder."""
    return int(folder.name.removeprefix("step_"))


def best_checkpoint(checkpoints: Sequence[Path], run: RunView) -> Path | None:
    """Find the kept checkpoint whose score by `checkpoint.best` is the best; None where none was scored."""
    name = run.recipe.checkpoint.best
    sign = {"lower": 1, "higher": -1}.get(run.directory.score_directions().get(name), 0)
    kept = {checkpoint_step(path): path for path in checkpoints}
    scores = {
        row["step"]: row[f"{SCORE}{name}"]
        for row in run.directory.read_metrics()
        if row["step"] in kept and f"{SCORE}{name}" in row
    }
    return kept[min(scores, key=lambda step: sign * scores[step])] if scores and sign else None


def link(source: Path, target: Path) -> None:
    """Hard-link a file, or copy it where the file system has no hard links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
