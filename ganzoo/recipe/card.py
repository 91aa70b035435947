"""Read the card of a recipe: what its header says to expect of a run."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ganzoo.errors import RequestError
from ganzoo.recipe.load import LARGEST_FILE, recipe_text
from ganzoo.untrusted import read_bytes

NOT_MEASURED = "not measured"
EXPECT = "# expect: "
COMMAND = "#   ganzoo run "
FORM = ("fd_classifier 5.0 at step 2,000; 2 min on 2 CPU cores; 0.8 GB", f"{NOT_MEASURED}; for one GPU")
_FIGURES = re.compile(
    rf"(?:(?P<score>\w+) (?P<value>-?[\d.]+) at step (?P<step>[\d,]+)|score {NOT_MEASURED}); "
    rf"(?P<time>[\d.]+ (?:s|min|h|days)) on (?P<machine>[^;]+); (?:(?P<memory>[\d.]+ [GM]B)|memory {NOT_MEASURED})"
)
_UNKNOWN = re.compile(rf"{NOT_MEASURED}; for (?P<machine>[^;]+)")


@dataclass(frozen=True)
class RecipeCard:
    """What the comment at the top of a recipe file says; None for what is not measured.

    Attributes:
        about: the purpose.
        command: that runs it; empty where the header names none.
        score: name of the score.
        value: of the score.
        step: at which the score was taken.
        time: of the run, such as "2 min".
        machine: that it took so long on, or is meant for.
        memory: peak of the process, such as "0.8 GB".
    """

    about: str
    command: str
    score: str | None = None
    value: float | None = None
    step: int | None = None
    time: str | None = None
    machine: str | None = None
    memory: str | None = None

    def __str__(self) -> str:
        score = f"{self.score} {self.value:g} at step {self.step:,}" if self.score else NOT_MEASURED
        time = f"{self.time} on {self.machine}" if self.time else NOT_MEASURED
        time += f", for {self.machine}" if self.machine and not self.time else ""
        figures = {"command": self.command, "score": score, "time": time, "memory": self.memory or NOT_MEASURED}
        return "\n".join([self.about, "", *(f"{name:<9}{value}" for name, value in figures.items() if value)])


def read_card(path: Path) -> RecipeCard:
    """Read the card of a recipe file; it is a comment, so that nothing of it is part of the recipe.

    Raises:
        RequestError: the file cannot be read, has no header, or its line "# expect:" has another form.
    """
    try:
        lines = recipe_text(read_bytes(path, LARGEST_FILE)).splitlines()
    except (OSError, ValueError) as error:
        raise RequestError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    header = list(itertools.takewhile(lambda line: line.startswith("#"), lines))
    if not header:
        raise RequestError(f"{path}: has no card: a recipe says what to expect in the comment at its top")
    about = [line for line in header if not line.startswith((EXPECT, COMMAND))]
    command = next((line.removeprefix("#").strip() for line in header if line.startswith(COMMAND)), "")
    expected = next((line.removeprefix(EXPECT) for line in header if line.startswith(EXPECT)), None)
    text = "\n".join(line.removeprefix("#").removeprefix(" ") for line in about)
    if expected is None:
        return RecipeCard(text, command)
    found = _FIGURES.fullmatch(expected) or _UNKNOWN.fullmatch(expected)
    if found is None:
        raise RequestError(f'{path}: the line "{EXPECT}{expected}" has another form than "{FORM[0]}" or "{FORM[1]}"')
    figures: dict[str, Any] = found.groupdict()
    if figures.get("score"):
        figures["value"], figures["step"] = float(figures["value"]), int(figures["step"].replace(",", ""))
    return RecipeCard(text, command, **figures)
