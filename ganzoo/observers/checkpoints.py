"""Saves the state of the run on schedule, at its end, and when it is interrupted."""

from __future__ import annotations

from ganzoo.engine.checkpoint import save_checkpoint
from ganzoo.engine.run import Interrupted, Run
from ganzoo.hookspecs import hookimpl


class CheckpointWriter:
    """Writes a checkpoint every `checkpoint.every` steps and whenever the run stops by itself or by a signal."""

    def __init__(self) -> None:
        self._saved_at: int | None = None

    @hookimpl
    def step_ended(self, run: Run, step: int) -> None:
        """Save where the schedule says so."""
        if step % run.recipe.checkpoint.every == 0 or step == run.total_steps:
            self._save(run)

    @hookimpl
    def run_failed(self, run: Run, error: BaseException) -> None:
        """Save what an interrupted run has; a failed one keeps its last good checkpoint."""
        if isinstance(error, Interrupted) and self._saved_at != run.step:
            self._save(run)

    def _save(self, run: Run) -> None:
        path = save_checkpoint(run)
        self._saved_at = run.step
        run.events.fire("checkpoint_saved", run=run, step=run.step, path=path)
