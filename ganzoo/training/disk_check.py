"""Check before a run starts that its directory can be made and that the disk has room for it."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from pathlib import Path

from ganzoo.components.spec import DatasetInfo
from ganzoo.components.trainer import Trainer
from ganzoo.errors import RequestError
from ganzoo.recipe.model import Recipe
from ganzoo.storage.disk import SMALL, check_room, nearest_existing, size_of
from ganzoo.text import size_in_words

GRIDS = 20
"""Least number of sample grids in a run, unless its recipe sets how often."""
PNG = 0.5
"""Size of a PNG file as a share of its pixels' bytes."""


def check_place(recipe: Recipe) -> None:
    """Check that a run directory can be made, before anything is decoded or built.

    Raises:
        RequestError: `run.root` leads through a file, or to where nothing can be written.
    """
    parent = Path(recipe.run.root) / recipe.run.name
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
    """
    networks = {name: network.state_dict() for name, network in trainer.networks().items()}
    weights, state = size_of(networks), size_of(trainer.state_dict())
    checkpoint = weights + max(state, 2 * weights) + SMALL  # most optimizers keep two numbers for each weight
    every = recipe.samples.every or math.ceil(steps / GRIDS)
    pixels = math.prod(info.samples.shape) * recipe.samples.count
    samples = math.ceil(steps / every) * pixels * PNG * (2 if recipe.samples.gif else 1)
    check_room(
        Path(recipe.run.root) / recipe.run.name,
        checkpoint * (recipe.checkpoint.keep + 1) + int(samples),
        f"a run with {recipe.checkpoint.keep} checkpoints of {size_in_words(checkpoint)}",
        "make room there, or set run.root to a folder on a larger disk",
    )
