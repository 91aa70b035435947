"""Runs behind the rows of a table: where each is, how far it came, and how it goes on.

Killed runs and copies of runs do too, such as those of a machine that is lost.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ganzoo
from ganzoo.errors import GanzooError
from ganzoo.recipe.load import load_recipe
from ganzoo.recipe.overrides import flatten
from ganzoo.registry.plugin_manager import plugin_manager
from ganzoo.storage.checkpoint import checkpoint_folders
from ganzoo.storage.run_directory import RunDirectory


def run_directory(runs: Path, name: str, seed: int) -> Path | None:
    """Return the directory of a row's last run from a seed, where one was begun."""
    return max((runs / name / f"seed{seed}").glob("*/[0-9]*"), default=None)


def train(runs: Path, name: str, seed: int, recipe: Path, changes: Sequence[str]) -> Path:
    """Train a row from a seed to its end, from its last checkpoint where it has one, and return its directory.

    It may go on on another device.

    Raises:
        SystemExit: it was begun with other options, as a trial is, or stopped, or its options are wrong.
    """
    begun = run_directory(runs, name, seed)
    asked = [*changes, f"run.seed={seed}", f"run.root={(runs / name / f'seed{seed}').as_posix()}"]
    try:
        if begun is None or not checkpoint_folders(begun / "checkpoints"):
            return ganzoo.run(recipe, asked).path
        others = {key: value for key, value in changed_options(begun, recipe, asked).items() if key != "run.root"}
        if refused := [key for key in others if not key.startswith("device.")]:
            sys.exit(
                f"{begun}: was begun with other options ({', '.join(sorted(refused))}): give the same --set, or "
                f"another folder for --runs, or remove {begun.parents[1]}"
            )
        return begun if is_complete(begun) else ganzoo.resume(begun, others).path
    except GanzooError as error:
        sys.exit(f"{name}, seed {seed}: {error}")


def changed_options(run: Path, recipe: Path, changes: Sequence[str]) -> dict[str, Any]:
    """Return the options of a recipe with changes that a run has otherwise, None for those that the run alone has."""
    wanted, had = (
        dict(flatten(each.to_dict()))
        for each in (
            load_recipe(recipe, plugin_manager(), changes)[0],
            RunDirectory(run).load_recipe(plugin_manager())[0],
        )
    )
    return {key: wanted.get(key) for key in {**wanted, **had} if wanted.get(key) != had.get(key)}


def is_complete(run: Path) -> bool:
    """Check whether a run is at its end; a killed one has no summary."""
    return RunDirectory(run).read_json("summary.json").get("status") == "complete"


def rows_with(run: Path, score: str) -> list[dict[str, Any]]:
    """Return the rows of a run's metrics that have a score."""
    return [row for row in RunDirectory(run).read_metrics() if f"score/{score}" in row]


def environment(run: Path) -> dict[str, Any]:
    """Return where and with what a run computes."""
    return RunDirectory(run).read_json("environment.json")


def device_of(run: Path) -> str:
    """Return what a run computes on: the GPU's name, or "cpu" or "mps"."""
    told = environment(run)
    name: str = told["device_name" if told["device"].startswith("cuda") else "device"]
    return name
