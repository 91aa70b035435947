"""Checkpoints of a run as artifacts on W&B, the best one of them linked to the Registry."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganzoo.plugin import RunView, warn
from ganzoo_trackers.facts import SCORE
from ganzoo_trackers.wandb.lineage import FOLDER
from ganzoo_trackers.wandb.record import PLACE, RECORD, artifact_name
from ganzoo_trackers.wandb.session import in_short, within

if TYPE_CHECKING:
    import wandb


class CheckpointArtifacts:
    """Sends the checkpoints that `tracking.wandb.checkpoints` asks for.

    W&B reads files late, in an offline run at `wandb sync`, when the checkpoint may have been removed. So each is kept
    until then by hard links beside W&B's own file, which take no disk space.
    """

    def __init__(self, run: RunView, tracked: wandb.Run) -> None:
        self._run = run
        self._tracked = tracked
        self._options = run.recipe.tracking.wandb
        self._folder = Path(tracked.dir).resolve().parent / FOLDER

    def ended(self) -> wandb.Artifact | None:
        """Send the best and the last checkpoint at the end of a run, where these are wanted; return the best one sent.

        The last is sent last, since W&B calls that "latest"; it stores equal files once.
        """
        which = self._options.checkpoints
        folders = [path for path in self._run.directory.checkpoints.glob("step_*") if path.name[5:].isdecimal()]
        checkpoints = sorted(folders, key=checkpoint_step)
        if which is False or not checkpoints:
            return None
        best = best_checkpoint(checkpoints, self._run)
        sent = self.send(best, "best") if best is not None else None
        again = which == "all" and (best is not None or self._options.registry)
        if checkpoints[-1] != best and (which is True or again):
            last = self.send(checkpoints[-1])
            return sent or last
        return sent

    def link(self, artifact: wandb.Artifact, seconds: float) -> None:
        """Link a checkpoint that was sent to the Registry, or warn of why that cannot be."""
        registry, run = self._options.registry, self._run.recipe.run.name
        target = f"wandb-registry-{registry}" if "/" in registry else f"wandb-registry-{registry}/{run}"
        name = artifact_name(run, self._tracked.id)
        try:
            if self._tracked.offline:
                raise RuntimeError("the run is tracked offline")
            within(seconds, lambda: self._tracked.link_artifact(artifact, target))
        except TimeoutError:
            problem = "the server does not answer in time"
        except Exception as error:
            problem = in_short(error)
        else:
            return
        warn(
            f'W&B: the checkpoint is not linked to the Registry "{registry}": {problem}; once it is there, '
            f"wandb.Api().artifact('{self._tracked.project}/{name}:latest').link('{target}') in Python does it"
        )

    def close(self) -> None:
        """Remove the links once the server has everything."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def send(self, checkpoint: Path, *aliases: str) -> wandb.Artifact:
        """Send a checkpoint under the alias of its step, and these.

        The run's place on W&B goes with it, so that what starts from a download of it is known to come from the run.
        """
        import wandb

        step, name = checkpoint_step(checkpoint), self._run.recipe.run.name
        artifact = wandb.Artifact(
            artifact_name(name, self._tracked.id),
            type="model",
            description=f"{name} at step {step}: a run directory, for `ganzoo sample` and the like",
            metadata=describe_checkpoint(self._run, step),
        )
        kept = self._folder / checkpoint.name
        kept.mkdir(parents=True, exist_ok=True)
        record = self._run.directory.read_json(RECORD)
        place = {**{key: record.get(key) for key in (*PLACE, "settings")}, "mode": "online"}
        (kept / RECORD).write_text(json.dumps(place, indent=2) + "\n", encoding="utf-8")
        inside = Path("checkpoints") / checkpoint.name
        files = {RECORD: kept / RECORD, "recipe.toml": self._run.directory.path / "recipe.toml"}
        files |= {str(inside / file.name): file for file in sorted(checkpoint.iterdir())}
        for path, file in files.items():
            target = kept / file.name
            if not target.exists():
                link(file, target)
            artifact.add_file(str(target), name=path, policy="immutable", skip_cache=True)
        return self._tracked.log_artifact(artifact, aliases=[f"step-{step}", *aliases])


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
