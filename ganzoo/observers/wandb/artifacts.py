"""Send checkpoints to Weights & Biases as artifacts, each laid out as a run directory."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganzoo.storage.retention import checkpoint_folders, checkpoint_step
from ganzoo.storage.summary import SCORE, best_and_last

if TYPE_CHECKING:
    import wandb

    from ganzoo.components.observer import RunView

FOLDER = "artifacts"


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

    def saved(self, path: Path) -> None:
        """Send a checkpoint that was just saved, where all are wanted."""
        if self._which == "all":
            self._send(path)

    def ended(self) -> None:
        """Send the best and the last checkpoint at the end of a run, where these are wanted.

        The last is sent last, since W&B calls that "latest"; it stores equal files once.
        """
        checkpoints = checkpoint_folders(self._run.directory.checkpoints)
        if self._which is False or not checkpoints:
            return
        best = best_checkpoint(checkpoints, self._run)
        if best is not None:
            self._send(best, "best")
        if checkpoints[-1] != best and (self._which is True or (self._which == "all" and best is not None)):
            self._send(checkpoints[-1])

    def close(self) -> None:
        """Remove the links once the server has everything."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _send(self, checkpoint: Path, *aliases: str) -> None:
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


def best_checkpoint(checkpoints: Sequence[Path], run: RunView) -> Path | None:
    """Find the kept checkpoint whose score by `checkpoint.best` is the best; None where none was scored."""
    kept = {checkpoint_step(path): path for path in checkpoints}
    rows = [row for row in run.directory.read_metrics() if row["step"] in kept]
    best = best_and_last(rows, run.directory.score_directions())["best"].get(run.recipe.checkpoint.best)
    return kept[int(best["step"])] if best is not None else None


def link(source: Path, target: Path) -> None:
    """Hard-link a file, or copy it where the file system has no hard links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
