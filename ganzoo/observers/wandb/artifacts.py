"""Checkpoints as artifacts on Weights & Biases, each laid out as a run directory to go on working with."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganzoo.storage.retention import checkpoint_folders, checkpoint_step
from ganzoo.storage.summary import SCORE, lower_is_better

if TYPE_CHECKING:
    import wandb

    from ganzoo.training.run import Run

FOLDER = "artifacts"


class CheckpointArtifacts:
    """Sends the checkpoints that `tracking.wandb.checkpoints` asks for.

    W&B reads files when it comes to them: in an offline run at `wandb sync`, when the checkpoint may long be
    superseded. So each is kept until then by hard links beside W&B's own file, which take no room of their own.
    """

    def __init__(self, run: Run, tracked: wandb.Run) -> None:
        self._run = run
        self._tracked = tracked
        self._which = run.recipe.tracking.wandb.checkpoints
        self._folder = Path(tracked.dir).resolve().parent / FOLDER

    def saved(self, path: Path) -> None:
        """Send a checkpoint that was just saved, where all are wanted."""
        if self._which == "all":
            self._send(path)

    def ended(self) -> None:
        """Send the best and the last checkpoint of a run that has come to its end, where these are wanted.

        The last comes last, since W&B calls that "latest"; it keeps what it has already only once.
        """
        checkpoints = checkpoint_folders(self._run.directory.checkpoints)
        if self._which is False or not checkpoints:
            return
        best = best_checkpoint(checkpoints, self._run.directory.read_metrics(), self._run.recipe.checkpoint.best)
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


def describe_checkpoint(run: Run, step: int) -> dict[str, Any]:
    """What an artifact says of itself: the step, what it was made with, and its scores."""
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


def best_checkpoint(checkpoints: Sequence[Path], rows: Sequence[Mapping[str, Any]], score: str | None) -> Path | None:
    """The checkpoint among those kept whose `score` is the best in the metrics; None where none was scored."""
    if score is None:
        return None
    kept = {checkpoint_step(path): path for path in checkpoints}
    scored = [row for row in rows if SCORE + score in row and row["step"] in kept]
    sign = -1 if lower_is_better(score) else 1
    best = max(scored, key=lambda row: sign * row[SCORE + score], default=None)
    return kept[best["step"]] if best is not None else None


def link(source: Path, target: Path) -> None:
    """Give a file a second name, or copy it where the file system knows no such thing."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
