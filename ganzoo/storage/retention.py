"""Retention of checkpoints: listing them and choosing those to delete."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path

from ganzoo.recipe.model import CheckpointOptions


def checkpoint_folders(folder: Path) -> list[Path]:
    """Return the folders of a run's checkpoints, oldest first; partial ones have other names."""
    return sorted((path for path in folder.glob("step_*") if re.fullmatch(r"step_\d+", path.name)), key=checkpoint_step)


def checkpoint_step(folder: Path) -> int:
    """Return the step of a checkpoint from the name of its folder."""
    return int(folder.name.removeprefix("step_"))


def superseded(
    folders: Sequence[Path], step: int, options: CheckpointOptions, spared: Collection[int] = ()
) -> list[Path]:
    """Return those of `folders`, oldest first, to delete once the checkpoint of `step` is complete.

    Those of later steps are among them: the run was resumed from an earlier step and repeats those steps.
    """
    permanent = options.every * options.keep_every if options.keep_every else None
    later = [path for path in folders if checkpoint_step(path) > step]
    old = [path for path in folders if checkpoint_step(path) <= step][: -options.keep]
    return later + [
        p for p in old if checkpoint_step(p) not in spared and (permanent is None or checkpoint_step(p) % permanent)
    ]
