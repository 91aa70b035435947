"""Where a run's grids of samples and their film lie, for those that write them and those that only look."""

from __future__ import annotations

import re
from pathlib import Path

GIF = "evolution.gif"


def grids(folder: Path) -> list[Path]:
    """The grids of a run, in the order of their steps."""
    return sorted((path for path in folder.glob("step_*.png") if re.fullmatch(r"step_\d+", path.stem)), key=step_of)


def step_of(path: Path) -> int:
    """The step that a grid was made at."""
    return int(path.stem.removeprefix("step_"))
