"""Runs behind the rows of a table: where each is, how far it came, and how it goes on.

Killed runs and copies of runs do too, such as those of a machine that is lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ganzoo
from ganzoo.data.loader import steps_for_epochs
from ganzoo.storage.checkpoint import checkpoint_folders
from ganzoo.storage.run_directory import RunDirectory


def run_directory(runs: Path, name: str, seed: int) -> Path | None:
    """Return the directory of a row's last run from a seed, where one was begun."""
    return max((runs / name / f"seed{seed}").glob("*/[0-9]*"), default=None)


def train(runs: Path, name: str, seed: int, recipe: Path, changes: Sequence[str]) -> Path:
    """Train a row from a seed to its end, from its last checkpoint where it has one, and return its directory."""
    begun = run_directory(runs, name, seed)
    if begun is None or not checkpoint_folders(begun / "checkpoints"):
        root = (runs / name / f"seed{seed}").as_posix()
        return ganzoo.run(recipe, [*changes, f"run.seed={seed}", f"run.root={root}"]).path
    return begun if is_complete(begun) else ganzoo.resume(begun).path


def is_complete(run: Path) -> bool:
    """Check whether a run is at its end; a killed one has no summary."""
    return RunDirectory(run).read_json("summary.json").get("status") == "complete"


def rows_with(run: Path, score: str) -> list[dict[str, Any]]:
    """Return the rows of a run's metrics that have a score."""
    return [row for row in RunDirectory(run).read_metrics() if f"score/{score}" in row]


def total_steps(run: Path) -> int:
    """Return the length of a run, of which it may have made a part."""
    tables = RunDirectory(run).read_recipe()
    if "steps" in tables["run"]:
        return int(tables["run"]["steps"])
    return steps_for_epochs(tables["run"]["epochs"], environment(run)["images"], tables["trainer"]["batch_size"])


def environment(run: Path) -> dict[str, Any]:
    """Return where and with what a run computes."""
    return RunDirectory(run).read_json("environment.json")


def device_of(run: Path) -> str:
    """Return what a run computes on: the GPU's name, or "cpu" or "mps"."""
    told = environment(run)
    name: str = told["device_name" if told["device"].startswith("cuda") else "device"]
    return name
