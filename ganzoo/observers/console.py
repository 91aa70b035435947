"""Shows a run on stderr: a bar on a terminal, plain lines elsewhere; stdout belongs to results."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from ganzoo.hookspecs import hookimpl

if TYPE_CHECKING:
    from torch import nn

    from ganzoo.engine.alerts import Alert
    from ganzoo.engine.run import Run

LINE_SECONDS = 1.0
"""Least time between two plain lines of a run."""
PACKING_LINE_SECONDS = 5.0
"""Least time between two plain lines while a dataset is packed."""

_LOSS = "loss/"
_SHORT = {"discriminator": "D", "generator": "G"}
_PROBABILITIES = {"probability/real": "D(x)", "probability/fake": "D(G(z))"}


@cache
def console() -> Console:
    """The one console of the process, on stderr."""
    return Console(stderr=True, highlight=False)


def warn(message: str) -> None:
    """Print "warning: …" above whatever bar is shown."""
    say(message, "warning: ")


def say(message: str, label: str = "", where: Console | None = None) -> None:
    """Print one line, however long, above whatever bar is shown; `label` comes first, in yellow."""
    (where or console()).print(Text.assemble((label, "yellow"), message), soft_wrap=True)


class ConsoleObserver:
    """Shows how far the run is, its losses, what the discriminator thinks, its speed and the time left.

    Args:
        where: console to write to; left out: the process's, on stderr.
        clock: gives seconds.
    """

    def __init__(self, where: Console | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._where = where or console()
        self._clock = clock
        self._bar: Progress | None = None
        self._started = clock()
        self._first_step = 0
        self._last_line = float("-inf")
        self._unseen = ""
        self._scored = False
        self._figures = ""
        self._error: BaseException | None = None

    @hookimpl
    def run_started(self, run: Run) -> None:
        """Say what is trained on what, and open the bar."""
        parts = run.trainer.parts
        self._say(
            f"{run.directory}: {run.compute}; {len(run.feed.pack)} images {run.facts.image}; "
            f"G {count(parameters(parts.generator))}, D {count(parameters(parts.discriminator))} parameters"
        )
        if run.resumed_from is not None:
            self._say(f"goes on from step {run.resumed_from} of {run.total_steps}")
        self._started, self._first_step = self._clock(), run.step
        if has_bar(self._where):
            self._bar = Progress(
                TextColumn("step {task.completed:.0f}/{task.total:.0f}"),
                BarColumn(bar_width=20),
                TextColumn("{task.fields[figures]}", markup=False),
                console=self._where,
                redirect_stdout=False,
                transient=True,
                refresh_per_second=4,
            )
            self._bar.add_task("", total=run.total_steps, completed=run.step, figures="")
            self._bar.start()

    @hookimpl
    def step_ended(self, run: Run, step: int, metrics: Mapping[str, float] | None) -> None:
        """Move the bar, or print a line where one is due."""
        if metrics is not None:
            self._figures = "  ".join(filter(None, (describe(metrics), f"left {self._left(run, step)}")))
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=step, figures=self._figures)
        elif metrics is not None:
            self._unseen = f"step {step}/{run.total_steps}  {self._figures}"
            if step >= run.total_steps or self._clock() - self._last_line >= LINE_SECONDS:
                self._print_unseen()

    @hookimpl
    def metrics_evaluated(self, step: int, scores: Mapping[str, float]) -> None:
        """Print the scores."""
        self._scored = True
        self._say(f"step {step}  " + "  ".join(f"{name} {number(value)}" for name, value in scores.items()))

    @hookimpl
    def alert_raised(self, step: int, alert: Alert) -> None:
        """Print what goes wrong, and what to try."""
        say(f"step {step}: {alert.text}; try {alert.remedy}", "alert: ", self._where)

    @hookimpl
    def run_failed(self, error: BaseException) -> None:
        """Remember what the run ended by."""
        self._error = error

    @hookimpl
    def run_ended(self, run: Run) -> None:
        """Close the bar and say how the run ended; what went wrong is for the command to print."""
        from ganzoo.observers.metrics_log import status_of

        if self._bar is not None:
            self._bar.stop()
            self._unseen = f"step {run.step}/{run.total_steps}  {self._figures}" if self._figures else ""
        self._print_unseen()
        self._say_scores(run)
        status, took = status_of(run, self._error), duration(self._clock() - self._started)
        if status == "complete":
            self._say(f"complete: {run.step - self._first_step} steps in {took}")
        elif status == "interrupted":
            self._say(f"interrupted at step {run.step} of {run.total_steps}: ganzoo resume {run.directory}")
        else:
            self._say(f"failed at step {run.step} of {run.total_steps}, after {took}")

    def _say(self, message: str) -> None:
        say(message, where=self._where)

    def _say_scores(self, run: Run) -> None:
        """The last scores of the run and its best, each of which alone would tell half of the truth."""
        from ganzoo.observers.metrics_log import best_and_last

        scores = best_and_last(run.directory.read_metrics()) if self._scored else {}
        for which, values in scores.items():
            shown = (f"{name} {number(each['value'])} (step {each['step']})" for name, each in values.items())
            self._say(f"{which} scores: {', '.join(shown)}")

    def _print_unseen(self) -> None:
        if self._unseen:
            self._say(self._unseen)
            self._unseen, self._last_line = "", self._clock()

    def _left(self, run: Run, step: int) -> str:
        taken = max(1, step - self._first_step)
        return duration((self._clock() - self._started) / taken * (run.total_steps - step))


def describe(metrics: Mapping[str, float]) -> str:
    """The figures of a log point that a person watches, whichever of them the trainer gives."""
    losses = {name.removeprefix(_LOSS): value for name, value in metrics.items() if name.startswith(_LOSS)}
    parts = []
    if losses:
        parts.append("loss " + " ".join(f"{_SHORT.get(name, name)} {number(value)}" for name, value in losses.items()))
    parts += [f"{label} {number(metrics[key])}" for key, label in _PROBABILITIES.items() if key in metrics]
    if "images_per_second" in metrics:
        parts.append(f"{number(metrics['images_per_second'])} images/s")
    return "  ".join(parts)


def number(value: float) -> str:
    """A figure in three digits, or all those before the point."""
    return f"{value:.0f}" if 100 <= abs(value) < 1e7 else f"{value:.3g}"


def count(value: int) -> str:
    """A large count with its unit: 3.58M."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return str(value)


def duration(seconds: float) -> str:
    """Seconds as h:mm:ss."""
    return str(timedelta(seconds=round(seconds)))


def parameters(network: nn.Module) -> int:
    """How many numbers a network learns."""
    return sum(parameter.numel() for parameter in network.parameters())


def has_bar(where: Console) -> bool:
    """Whether a bar can be drawn and redrawn there."""
    return where.is_terminal and not where.is_dumb_terminal


@contextmanager
def packing_progress(
    where: Console | None = None, *, what: str = "decoding images"
) -> Iterator[Callable[[int, int], None]]:
    """Gives a function to call with (done, total) images while a dataset is decoded, or `what` is done with it.

    It shows a bar on a terminal and a few lines elsewhere, and nothing where there is nothing to do.
    """
    where = where or console()
    bar = Progress(
        TextColumn(what + " {task.completed:.0f}/{task.total:.0f}"),
        BarColumn(bar_width=20),
        console=where,
        redirect_stdout=False,
        transient=True,
    )
    last = time.monotonic()
    begun = False

    def report(done: int, total: int) -> None:
        nonlocal last, begun
        if not begun and done >= total:
            return  # it was ready
        if not has_bar(where):
            now = time.monotonic()
            if not begun or done >= total or now - last >= PACKING_LINE_SECONDS:
                last = now
                say(f"{what} {done}/{total}", where=where)
        elif not begun:
            bar.add_task("", total=total, completed=done)
            bar.start()
        else:
            bar.update(bar.task_ids[0], completed=done, total=total)
        begun = True

    try:
        yield report
    finally:
        if begun and has_bar(where):
            bar.stop()
