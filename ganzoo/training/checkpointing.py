"""Check the place of a run and the room for its checkpoints; save its state as one, and restore it."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

import torch

from ganzoo.components.spec import DatasetInfo
from ganzoo.components.trainer import Trainer
from ganzoo.errors import CheckpointError, DivergedError, RequestError
from ganzoo.recipe.model import CheckpointOptions, Recipe
from ganzoo.runtime.random_state import random_state, set_random_state
from ganzoo.runtime.restored import check_like
from ganzoo.storage.checkpoint import (
    STATE,
    Checkpoint,
    checkpoint_folders,
    load_network,
    remove,
    size_of,
    superseded,
    write_checkpoint,
)
from ganzoo.storage.disk import SMALL, check_room, nearest_existing
from ganzoo.storage.manifest import LARGEST
from ganzoo.storage.run_directory import runs_folder
from ganzoo.text import size_in_words
from ganzoo.training.non_finite import stop_if_diverged
from ganzoo.training.run import Run

PNG = 0.5
"""Size of a PNG file as a share of its pixels' bytes."""


def check_place(recipe: Recipe) -> None:
    """Check that a run directory can be made, before anything is decoded or built.

    Raises:
        RequestError: `run.root` leads through a file, or to where nothing can be written.
    """
    parent = runs_folder(recipe)
    try:
        place = nearest_existing(parent)
        for path in (parent, *(place / name for name in parent.absolute().relative_to(place).parts)):
            with suppress(FileNotFoundError, NotADirectoryError):
                os.lstat(path)  # raises where a name is too long or has a zero byte
        reason = "" if place.is_dir() else f"{place} is a file"
        if not reason and not os.access(place, os.W_OK | os.X_OK):
            reason = f"{place} cannot be written to"
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
    if reason:
        raise RequestError(
            f"run.root: no run directory can be made in {parent}: {reason}; "
            f"set run.root to a folder that can be written to"
        )


def check_room_for_run(recipe: Recipe, trainer: Trainer, info: DatasetInfo, steps: int) -> None:
    """Check that there is room for a run: its checkpoints, one more while it is written, and its samples.

    Raises:
        OutputError: there is not.
        RequestError: the names of the labels leave no room in the manifest of a checkpoint.
    """
    names = len(json.dumps(info.to_dict(), indent=2))
    if names > LARGEST - SMALL:
        raise RequestError(
            f"dataset: the names of its labels take {size_in_words(names)}, and checkpoints are read with up to "
            f"{size_in_words(LARGEST - SMALL)}: shorten them, or choose some with dataset.classes"
        )
    networks = {name: network.state_dict() for name, network in trainer.networks().items()}
    weights, state = size_of(networks), size_of(trainer.state_dict())
    checkpoint = weights + max(state, 2 * weights) + SMALL  # most optimizers keep two numbers for each weight
    kept, most = _checkpoint_counts(recipe.checkpoint, steps)
    grids = math.ceil(steps / recipe.samples.interval(steps))
    pixels = math.prod(info.samples.shape) * recipe.samples.count
    grid = int(pixels * PNG * (2 if recipe.samples.gif else 1))
    check_room(
        runs_folder(recipe),
        checkpoint * most + grid * grids,
        f"a run with {kept} checkpoints of {size_in_words(checkpoint)} and {grids} grids of {size_in_words(grid)}",
        "make room there, set run.root to a folder on a larger disk, or keep fewer of them by samples.every, "
        "samples.count, checkpoint.keep and checkpoint.keep_every",
    )


def _checkpoint_counts(options: CheckpointOptions, steps: int) -> tuple[int, int]:
    """Return how many checkpoints a run of this length has at its end, and at most, while one more is written."""
    saved = math.ceil(steps / options.every)
    latest = min(saved, options.keep)
    permanent = (saved - latest) // options.keep_every if options.keep_every else 0
    kept = latest + permanent + bool(options.best)
    return kept, kept + (saved > latest)


def save_checkpoint(run: Run, spared: Collection[int] = ()) -> Path:
    """Save the state of `run` in its run directory, and remove the checkpoints that its recipe does not keep.

    Args:
        run: between two steps.
        spared: steps whose checkpoints are kept in any case.

    Raises:
        OutputError: it could not be written; the checkpoints before it are untouched.
        DivergedError: a loss, gradient or weight is not finite.
    """
    run.clock.settle()
    stop_if_diverged(run)
    networks = {name: network.state_dict() for name, network in run.trainer.networks().items()}
    wrong = [name for name, tensors in networks.items() if not all(t.isfinite().all() for t in tensors.values())]
    if wrong:
        raise DivergedError(run.step, f"the weights of {', '.join(wrong)} are")
    path = write_checkpoint(
        run.directory.checkpoints,
        run.step,
        networks,
        info=run.info,
        plugin_versions=run.plugin_versions,
        state={
            "trainer": run.trainer.state_dict(),
            "position": run.loader.position,
            "latest_metrics": dict(run.latest_metrics),
            "seconds": run.clock.seconds,
            "random": random_state(run.compute.device, run.trainer.parts.rng),
        },
    )
    for old in superseded(checkpoint_folders(run.directory.checkpoints), run.step, run.recipe.checkpoint, spared):
        remove(old)
    return path


def restore(run: Run, checkpoint: Checkpoint) -> None:
    """Restore the state of `run` from a checkpoint, to the bit.

    Raises:
        CheckpointError: it is of another recipe, or lacks a part.
    """
    for name, network in run.trainer.networks().items():
        load_network(network, checkpoint, name)
    state = checkpoint.state()
    try:
        run.trainer.load_state_dict(state["trainer"])
        run.loader.seek(state["position"])
        for name, value in state["latest_metrics"].items():
            check_like(value, torch.zeros((), dtype=getattr(value, "dtype", None)), f"latest_metrics.{name}")
        run.latest_metrics = {name: value.to(run.device) for name, value in state["latest_metrics"].items()}
        set_random_state(state["random"], run.compute.device, run.trainer.parts.rng)
        seconds = state.get("seconds", 0.0)  # checkpoints of earlier versions have none
        check_like(seconds, 0.0, "seconds")
        if seconds < 0:
            raise ValueError("seconds is negative")
        run.clock.seconds = seconds
    except Exception as error:  # of any kind: the content was not checked before
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise CheckpointError(f"{checkpoint.path / STATE}: does not fit the recipe: {reason}") from error
    run.step = checkpoint.step
