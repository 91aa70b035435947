"""Which checkpoints there are, and which of them are kept."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path

from ganzoo.recipe.model import CheckpointOptions


def checkpoint_folders(folder: Path) -> list[Path]:
    """The folders of a run's checkpoints, oldest first; half-written ones have other names."""
    return sorted((path for path in folder.glob("step_*") if re.fullmatch(r"step_\d+", path.name)), key=step_of)


def step_of(folder: Path) -> int:
    """The step of a checkpoint, by the name of its folder."""
    return int(folder.name.removeprefix("step_"))


def superseded(
    folders: Sequence[Path], step: int, options: CheckpointOptions, spared: Collection[int] = ()
) -> list[Path]:
    """Which of `folders`, oldest first, may go once the checkpoint of `step` is whole.

    Those of later steps go: the run was resumed from before them and takes those steps again.
    """
    for_good = options.every * options.keep_every if options.keep_every else None
    later = [path for path in folders if step_of(path) > step]
    old = [path for path in folders if step_of(path) <= step][: -options.keep]
    return later + [p for p in old if step_of(p) not in spared and (for_good is None or step_of(p) % for_good)]
