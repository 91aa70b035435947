"""Console output on stderr: lines, warnings and progress; stdout is for results."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

from rich.console import Console
from rich.progress import BarColumn, Progress, Task, TextColumn
from rich.text import Text

from ganzoo.text import printable, printable_lines

PACKING_LINE_SECONDS = 5.0
"""Least time between two plain lines while a dataset is packed."""
QUIET_SECONDS = 2.0
"""How long the progress of what is mostly fast is not shown."""


@cache
def console() -> Console:
    """Return the console of the process, on stderr."""
    # In a notebook plain lines: rich's bars need ipywidgets there, and leave each of their states in the file.
    terminal = False if Console().is_jupyter else None
    return Console(
        stderr=True, force_jupyter=False, force_terminal=terminal, highlight=False, markup=False, emoji=False
    )


def warn(message: str) -> None:
    """Print "warning: …" above any progress bar."""
    say(message, "warning: ")


@cache
def warn_once(message: str) -> None:
    """Print a warning the first time that the process gives it."""
    warn(message)


def say(message: str, label: str = "") -> None:
    """Print one unwrapped line above any progress bar, after `label` in yellow; text in it may be of any origin."""
    console().print(Text.assemble((label, "yellow"), printable_lines(message)), soft_wrap=True)


def has_bar() -> bool:
    """Return whether the console can show a progress bar."""
    return console().is_terminal and not console().is_dumb_terminal


def progress_bar(label: str = "{task.description}") -> Progress:
    """Return a bar between a label and the field `figures` of its task; it leaves nothing behind."""
    return Progress(
        _PrintableColumn(label),
        BarColumn(bar_width=20),
        _PrintableColumn("{task.fields[figures]}"),
        console=console(),
        redirect_stdout=False,
        transient=True,
        refresh_per_second=4,
    )


class _PrintableColumn(TextColumn):
    """Shows text of any origin in a bar."""

    def render(self, task: Task) -> Text:
        """Return the text, without markup."""
        return Text(printable(self.text_format.format(task=task)))


@contextmanager
def count_progress(
    *, what: str = "reading samples", only_if_slow: bool = False
) -> Iterator[Callable[[int, int], None]]:
    """Yield a function that shows progress, called with how many are done and how many there are in all.

    It shows a bar on a terminal, a few lines elsewhere, and nothing where all is done at the first call or, with
    `only_if_slow`, within two seconds.
    """
    bar = progress_bar(what + " {task.completed:.0f}/{task.total:.0f}")
    shown: float | None = None
    begun = time.monotonic()

    def report(done: int, total: int) -> None:
        nonlocal shown
        now = time.monotonic()
        if shown is None and (done >= total or (only_if_slow and now - begun < QUIET_SECONDS)):
            return  # there was nothing to do, or it may be done before anyone wonders
        if has_bar():
            if shown is None:
                bar.add_task("", figures="")
                bar.start()
            bar.update(bar.task_ids[0], completed=done, total=total)
        elif shown is None or done >= total or now - shown >= PACKING_LINE_SECONDS:
            say(f"{what} {done}/{total}")
        else:
            return
        shown = now

    try:
        yield report
    finally:
        if shown is not None and has_bar():
            bar.stop()
