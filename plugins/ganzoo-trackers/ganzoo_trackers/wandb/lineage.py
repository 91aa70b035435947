"""The lineage of a run on W&B: the dataset and the run that it came from, as artifacts that it uses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganzoo.plugin import RunView

if TYPE_CHECKING:
    import wandb

FOLDER = "artifacts"
"""Folder beside W&B's files for what it reads late."""


def declare_dataset(run: RunView, tracked: wandb.Run) -> None:
    """Declare the packed dataset: a description with its checksums, which is one artifact for all runs on that data."""
    facts = {
        "dataset": run.recipe.dataset.name,
        "shape": list(run.info.samples.shape),
        "classes": list(run.info.class_names),
        **run.dataset.checksums(),
    }
    use(tracked, f"{run.recipe.dataset.name}-{run.dataset.key[:12]}", "dataset", facts)


def declare_parent(tracked: wandb.Run, parent: Mapping[str, Any]) -> None:
    """Declare the run that this one came from: its checkpoint where the server has that, else a description."""
    if not tracked.offline and parent["artifact"]:
        at = "/".join(str(parent[key]) for key in ("entity", "project", "artifact") if parent[key])
        try:
            tracked.use_artifact(f"{at}:step-{parent['step']}", type="model")
            return
        except Exception:  # noqa: S110 - of any kind: the checkpoint was not sent, or this server keeps no artifacts
            pass
    use(tracked, f"run-{parent['id']}", "run", parent)


def use(tracked: wandb.Run, name: str, kind: str, facts: Mapping[str, Any]) -> None:
    """Declare an artifact as used that holds facts alone, in a file of JSON; equal ones are one version of it."""
    import wandb

    artifact = wandb.Artifact(name, type=kind, metadata=dict(facts))
    file = Path(tracked.dir).resolve().parent / FOLDER / f"{name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(facts, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    artifact.add_file(str(file), name=f"{kind}.json", policy="immutable", skip_cache=True)
    # What `use_artifact` calls: itself it refuses offline, and waits until the server has the artifact.
    if send := getattr(tracked, "_log_artifact", None):
        send(artifact, is_user_created=True, use_after_commit=True)
    else:
        tracked.use_artifact(artifact)
