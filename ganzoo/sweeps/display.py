"""Progress of a sweep on stderr: a bar for the sweep and for each active run on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from textwrap import shorten
from time import monotonic
from typing import Any

from rich.progress import TaskID

from ganzoo.errors import RunDirectoryError
from ganzoo.observers.console import describe
from ganzoo.storage.run_directory import RunDirectory
from ganzoo.sweeps.child_processes import Job, tail
from ganzoo.sweeps.directory import Member, SweepDirectory
from ganzoo.terminal import has_bar, progress_bar, say, warn
from ganzoo.text import counted, duration, parse_json

LINE_SECONDS = 60.0
"""Interval between two plain lines of an active run."""
BAR_SECONDS = 1.0
"""Interval between two readings of a run's metrics."""
ERROR_LENGTH = 160


class SweepDisplay:
    """Reports the number, start, progress and end of the runs `members`, while it is open."""

    def __init__(self, sweep: SweepDirectory, members: Sequence[Member]) -> None:
        self._sweep, self._members = sweep, members
        self._begun, self._done = monotonic(), self._count("complete")
        self._bars: dict[str, TaskID] = {}
        self._seen: dict[str, float] = {}
        self._bar = progress_bar()
        self._all = self._bar.add_task("sweep", total=len(members), completed=self._done, figures="")
        self._shown = has_bar()

    def __enter__(self) -> SweepDisplay:
        say(
            f"{self._sweep.path}: {counted(len(self._members), 'run')}, "
            + counted(len({member.variant for member in self._members}), "variant")
            + (f"; {self._done} are complete" if self._done else "")
        )
        if self._shown:
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._shown:
            self._bar.stop()

    def started(self, job: Job) -> None:
        """Report that a run starts or resumes."""
        self._seen[str(job.member)] = monotonic()
        self._bars[str(job.member)] = self._bar.add_task(str(job.member), total=1.0, figures="starting")
        if not self._shown:
            what = "goes on" if job.run is not None else "starts"
            say(f"{self._place(job.member)} {job.member}: {what}")

    def look(self, jobs: Sequence[Job]) -> None:
        """Update the progress of the active runs, where the interval is over."""
        for job in jobs:
            name = str(job.member)
            if monotonic() - self._seen[name] < (BAR_SECONDS if self._shown else LINE_SECONDS):
                continue
            self._seen[name] = monotonic()
            job.run = job.run or self._sweep.find_run(job.member)
            share, figures = progress(job.run)
            self._bar.update(self._bars[name], completed=share, figures=figures)
            if figures and not self._shown:
                say(f"{self._place(job.member)} {name}: {figures}")
        self._bar.update(self._all, completed=self._count("complete"), figures=self._figures())

    def ended(self, job: Job) -> None:
        """Report the end of a run."""
        member, took = job.member, monotonic() - job.begun
        self._bar.remove_task(self._bars.pop(str(member)))
        place = f"{self._place(member)} {member}: "
        if member.status == "failed":
            text = shorten(member.error, ERROR_LENGTH, placeholder=" …")
            warn(f"{place}failed after {duration(took)}: {text}; all it said is in {job.log}")
        else:
            say(f"{place}{member.status}, {duration(took)}, {self._sweep.path / member.run}")

    def _place(self, member: Member) -> str:
        return f"[{self._members.index(member) + 1}/{len(self._members)}]"

    def _count(self, status: str) -> int:
        return sum(member.status == status for member in self._members)

    def _figures(self) -> str:
        complete, failed = self._count("complete"), self._count("failed")
        left = self._count("waiting") + self._count("running")
        parts = [f"{complete}/{len(self._members)} complete"]
        parts += [f"{failed} failed"] if failed else []
        if complete > self._done and left:
            parts.append(f"about {duration((monotonic() - self._begun) / (complete - self._done) * left)} left")
        return "  ".join(parts)


def progress(run: RunDirectory | None) -> tuple[float, str]:
    """Return the progress of a run, as a share of its length and as text, from the last row of its metrics."""
    if run is None:
        return 0.0, ""
    row = last_row(run)
    try:
        length = run.read_recipe()["run"]
        if "steps" in length:
            share, words = row["step"] / length["steps"], f"step {row['step']}/{length['steps']}"
        else:
            share, words = row["epoch"] / length["epochs"], f"epoch {row['epoch']:.4g}/{length['epochs']:g}"
        return min(1.0, share), f"{words}  {describe(row)}"
    except (RunDirectoryError, KeyError, TypeError, ValueError, ZeroDivisionError):
        return 0.0, ""


def last_row(run: RunDirectory) -> Mapping[str, Any]:
    """Return the last complete row of a run's metrics, without reading the others."""
    for line in reversed(tail(run.metrics).splitlines()):
        with suppress(ValueError):
            row = parse_json(line)
            if isinstance(row, dict) and "images_per_second" in row:
                return row
    return {}
