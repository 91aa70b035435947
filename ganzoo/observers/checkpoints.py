"""Save the state of the run on schedule, at its best score, at its end, and when it is interrupted."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from ganzoo.components.observer import RunView
from ganzoo.errors import GanzooError, Interrupted, OutputError
from ganzoo.registry.hookspecs import hookimpl
from ganzoo.storage.checkpoint import checkpoint_folders, checkpoint_step
from ganzoo.storage.summary import SCORE, ahead
from ganzoo.terminal import warn


class CheckpointWriter:
    """Writes a checkpoint every `checkpoint.every` steps and whenever the run stops by itself or by a signal.

    Where `checkpoint.best` names a score, it also saves when that is at its best so far.

    Args:
        save: writes a checkpoint of the current step and returns its folder; takes the steps whose checkpoints
            must not be removed.
    """

    def __init__(self, save: Callable[[Collection[int]], Path]) -> None:
        self._write = save
        self._saved_at: int | None = None
        self._best: tuple[int, float] | None = None

    @hookimpl
    def run_started(self, run: RunView) -> None:
        """Find the best checkpoint among those of an earlier part of the run."""
        name = run.recipe.checkpoint.best
        if name is not None:
            kept = {checkpoint_step(path) for path in checkpoint_folders(run.directory.checkpoints)}
            for row in run.directory.read_metrics():
                if SCORE + name in row and row["step"] in kept:
                    self._compare(run, row["step"], row[SCORE + name])

    @hookimpl
    def step_ended(self, run: RunView, step: int) -> None:
        """Save on schedule and at the last step."""
        if step % run.recipe.checkpoint.every == 0 or run.ending:
            self._save(run)

    @hookimpl
    def metrics_evaluated(self, run: RunView, step: int, scores: Mapping[str, float]) -> None:
        """Save the scored state if it is the best so far; one of an earlier step is kept if it is still there."""
        name = run.recipe.checkpoint.best
        if name is None or name not in scores:
            return
        there = any(checkpoint_step(path) == step for path in checkpoint_folders(run.directory.checkpoints))
        if (there or step == run.step) and self._compare(run, step, scores[name]) and step == run.step:
            self._save(run)

    @hookimpl
    def run_failed(self, run: RunView, error: BaseException) -> None:
        """Save the state of an interrupted run; a failed one keeps its last good checkpoint."""
        if isinstance(error, Interrupted):
            self._save(run)

    @hookimpl
    def run_ended(self, run: RunView) -> None:
        """Warn if the score that chooses the best checkpoint was never evaluated, or has no better and worse."""
        name = run.recipe.checkpoint.best
        if name is not None and not any(SCORE + name in row for row in run.directory.read_metrics()):
            warn(f'checkpoint.best: no score "{name}" was evaluated in this run, so no checkpoint is its best')
        elif name is not None and run.directory.score_directions().get(name, "none") == "none":
            warn(f'checkpoint.best: its metric does not say which values of "{name}" are better: name another score')

    def _compare(self, run: RunView, step: int, value: float) -> bool:
        """Check whether this is the best value so far, and remember it if it is."""
        direction = run.directory.score_directions().get(run.recipe.checkpoint.best, "none")
        if not math.isfinite(value) or direction == "none":
            return False
        if self._best is not None and not ahead(value, self._best[1], direction):
            return False
        self._best = (step, value)
        return True

    def _save(self, run: RunView) -> None:
        if self._saved_at == run.step:
            return
        try:
            path = self._write([self._best[0]] if self._best else [])
        except GanzooError:
            raise
        except Exception as error:  # else `Events` would mute this observer, and no later checkpoint be saved
            raise OutputError(
                f"{run.directory.checkpoints}: the checkpoint of step {run.step} cannot be written: "
                f"{type(error).__name__}: {error}"
            ) from error
        self._saved_at = run.step
        run.fire("checkpoint_saved", step=run.step, path=path)
