"""Errors for users: each says what is wrong, where, and how to fix it, and is shown without a traceback."""

from __future__ import annotations

import signal
from dataclasses import dataclass

from ganzoo.text import counted


class GanzooError(Exception):
    """Base class of ganzoo's errors; the command line prints its text and exits with `exit_code`."""

    exit_code = 1

    def _render_traceback_(self) -> list[str]:
        """Return the text alone, which notebooks show in place of a traceback."""
        return [f"{type(self).__name__}: {self}"]


class RequestError(GanzooError):
    """The request was wrong (a recipe, a path, an option): nothing was trained or written."""

    exit_code = 2


class PluginError(RequestError):
    """A plugin cannot be loaded, or two of them register the same name."""


class DataError(RequestError):
    """A dataset is missing, incomplete or holds files that cannot be read."""


class RunDirectoryError(RequestError):
    """A run directory cannot be made, found or understood."""


class CheckpointError(RequestError):
    """A checkpoint is missing or damaged."""


class UnreadableCheckpointError(CheckpointError):
    """A checkpoint exists but cannot be read now, though it may be intact: no older one is used instead."""


class DeviceError(RequestError):
    """The requested device or precision is not available."""


class OutputError(GanzooError):
    """Something could not be written while a run was going on (a full disk, say)."""


class TrainingError(GanzooError):
    """The training itself failed."""


class LostProcessError(TrainingError):
    """Another process of the same run ended, or no longer answers."""


class DivergedError(TrainingError):
    """A loss, a gradient or a weight is no longer a number."""

    def __init__(self, step: int, what: str, more: str = "") -> None:
        self.step, self.what = step, what
        super().__init__(
            f"step {step}: {what} not finite any more. A lower learning rate, a penalty (r1) or precision fp32 "
            f"usually helps; no checkpoint is affected" + (f"; {more}" if more else "")
        )


def first_line(error: BaseException) -> str:
    """Return the first line of a third-party exception, or its type where it has no text."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a recipe.

    `path` is its TOML path (`trainer.batch_size`), empty for the file as a whole. `unchecked`: it may be
    right, since the name may come from a plugin file that was not imported.
    """

    path: str
    message: str
    unchecked: bool = False

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class RecipeError(RequestError):
    """Everything that is wrong with one recipe, together."""

    def __init__(self, source: str, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__(
            "\n".join([f"{source}: {counted(len(problems), 'problem')}", *(f"  {problem}" for problem in problems)])
        )


class Interrupted(GanzooError):
    """The run was asked to stop by a signal; its state is saved and `ganzoo resume` goes on with it."""

    def __init__(self, number: int) -> None:
        self.exit_code = 128 + number
        super().__init__(f"stopped by {signal.Signals(number).name}")
