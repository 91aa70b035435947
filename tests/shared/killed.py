"""Work done in a process of its own, and killed at a line of it, for the tests."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Collection
from types import FrameType
from typing import Any

Line = tuple[str, int]


def lines_of(work: Callable[[], object], traced: Collection[str]) -> list[Line]:
    """Every line of the traced files that the work goes through: file and number."""
    lines: list[Line] = []
    _tracing(work, traced, lines.append)
    return lines


def killed_at(moment: int, work: Callable[[], object], traced: Collection[str]) -> int:
    """Do it in a process that kills itself at the line of that place in `lines_of`; returns how it ended."""
    seen: list[Line] = []

    def reached(line: Line) -> None:
        if len(seen) == moment:
            os.kill(os.getpid(), signal.SIGKILL)
        seen.append(line)

    return in_child(lambda: _tracing(work, traced, reached))


def in_child(work: Callable[[], object]) -> int:
    """Do it in a process of its own; returns what it was killed by, or 0."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        work()
        os._exit(0)
    finally:
        os._exit(1)


def _tracing(work: Callable[[], object], traced: Collection[str], reached: Callable[[Line], object]) -> None:
    def trace(frame: FrameType, event: str, argument: object) -> Any:
        if frame.f_code.co_filename not in traced:
            return None
        if event == "line":
            reached((frame.f_code.co_filename, frame.f_lineno))
        return trace

    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(None)
