"""Room for a run on the disk: asked before anything is decoded, before the start, and before each checkpoint."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import Tensor

from ganzoo.components.trainer import Trainer
from ganzoo.engine.memory import shown
from ganzoo.errors import OutputError, RequestError
from ganzoo.images import Facts
from ganzoo.recipe import Recipe

GRIDS = 20
"""How many grids of samples a run has at least, unless its recipe says how often."""
PNG = 0.5
"""Size of a picture in a file, as a share of its pixels."""
SMALL = 64 * 1024
"""What the files beside the tensors take."""


def check_place(recipe: Recipe) -> None:
    """Notice where no run directory can be made, before anything is decoded or built.

    Raises:
        RequestError: `run.root` leads through a file, or to where nothing can be written.
    """
    parent = Path(recipe.run.root) / recipe.run.name
    try:
        place = standing(parent)
        for path in (parent, *(place / name for name in parent.absolute().relative_to(place).parts)):
            with suppress(FileNotFoundError, NotADirectoryError):
                os.lstat(path)  # a name that is too long, or has a zero byte in it, is told here
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


def check_room_for_run(recipe: Recipe, trainer: Trainer, facts: Facts, steps: int) -> None:
    """Notice before the start that a run will not fit: its checkpoints, one more while it is written, and its samples.

    Raises:
        OutputError: it will not.
    """
    networks = {name: network.state_dict() for name, network in trainer.networks().items()}
    weights, state = size_of(networks), size_of(trainer.state_dict())
    checkpoint = weights + max(state, 2 * weights) + SMALL  # an optimiser remembers most often two numbers a weight
    every = recipe.samples.every or math.ceil(steps / GRIDS)
    pixels = facts.image.channels * facts.image.height * facts.image.width * recipe.samples.count
    samples = math.ceil(steps / every) * pixels * PNG * (2 if recipe.samples.gif else 1)
    check_room(
        Path(recipe.run.root) / recipe.run.name,
        checkpoint * (recipe.checkpoint.keep + 1) + int(samples),
        f"a run with {recipe.checkpoint.keep} checkpoints of {shown(checkpoint)}",
        "make room there, or set run.root to a folder on a larger disk",
    )


def check_room(path: Path, needed: int, what: str, cure: str) -> None:
    """Notice that `needed` bytes do not fit where `path` is or will be.

    Raises:
        OutputError: they do not.
    """
    usage = shutil.disk_usage(standing(path))
    if usage.total and usage.free < needed:
        raise OutputError(
            f"{path}: the disk is full: {what} needs about {shown(needed)} and {shown(usage.free)} are free: {cure}"
        )


def not_written(path: Path, error: Exception) -> OutputError:
    """The error for a file that a library could not write, and has no more than text to say why."""
    if "No space left" in str(error) or shutil.disk_usage(standing(path)).free < SMALL:
        return OutputError(f"{path}: the disk is full: make room there, then `ganzoo resume` the run")
    return OutputError(f"{path}: the checkpoint cannot be written: {error}")


def size_of(values: Any) -> int:
    """Bytes of all tensors in nested dictionaries and lists."""
    return sum(tensor.numel() * tensor.element_size() for tensor in _tensors(values))


def _tensors(values: Any) -> Iterator[Tensor]:
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, Mapping):
        for value in values.values():
            yield from _tensors(value)
    elif isinstance(values, list | tuple):
        for value in values:
            yield from _tensors(value)


def standing(path: Path) -> Path:
    """What there is of a path: itself, or the nearest of the folders that lead to it."""
    path = path.absolute()
    while not os.path.lexists(path) and path != path.parent:
        path = path.parent
    return path
