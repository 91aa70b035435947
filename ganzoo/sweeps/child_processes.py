"""Child processes for the runs of a sweep, so that a crash or exhausted memory ends one run and not the sweep."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ganzoo.components.options import TrackerConfig
from ganzoo.errors import RunDirectoryError
from ganzoo.recipe.model import TargetOptions
from ganzoo.recipe.overrides import plugins_in
from ganzoo.storage.disk import output_errors
from ganzoo.storage.run_directory import RunDirectory
from ganzoo.storage.summary import SUMMARY, first_reaching
from ganzoo.sweeps.directory import BASE, Member, Status, SweepDirectory
from ganzoo.sweeps.plan import settings
from ganzoo.untrusted import open_file

if sys.platform != "win32":
    from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, flock

INTERRUPTED = tuple(128 + number for number in (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", 1)))
ERROR = "error: "
TAIL = 4096


@dataclass
class Job:
    """A child process that trains one member of a sweep."""

    member: Member
    process: subprocess.Popen[bytes]
    log: Path
    begun: float
    environment: Mapping[str, str]
    run: RunDirectory | None = None
    told: int = 0
    """Number of signals passed on to it."""
    log_begins: int = 0
    """Size of the log of earlier attempts."""
    summary: int | None = None
    """Time of the summary of an earlier attempt."""


def start(
    sweep: SweepDirectory,
    member: Member,
    environment: Mapping[str, str],
    accept_changes: bool,
    trackers: Mapping[str, TrackerConfig],
) -> Job:
    """Start training a member, or resume it where it has a run directory; `trackers` are those of the recipe.

    Raises:
        OutputError: its log cannot be written.
    """
    run = sweep.find_run(member)
    if run is not None:
        # With the recipe's plugin files named here, those of the run directory need not be trusted.
        words = [*(f"--plugin={file}" for file in plugins_in(sweep.recipe, "files")), "resume", str(run.path)]
        words += ["--accept-changes"] if accept_changes else []
        chosen = {key: value for key, value in member.choice.items() if f"{key}.".startswith("tracking.")}
        changes = {"tracking": sweep.recipe.get("tracking", {}), **chosen}  # may be another than when it was begun
    else:
        words = ["run", str(sweep.path / BASE)]
        own = {"run.root": str(sweep.path), "run.name": member.variant, "run.seed": member.seed}
        changes = {**member.choice, **own}
    for name, tracker in trackers.items():
        options = tracker.sweep_options(sweep.name, member.variant, settings(member.choice))
        changes |= {f"tracking.{name}.{key}": value for key, value in options.items()}
    words += [word for text in settings(changes) for word in ("--set", text)]
    command = [sys.executable, "-P", "-m", "ganzoo", *words]
    log = sweep.log(member)
    summary = _time_of_summary(run)
    with output_errors(log), log.open("ab") as file:
        begins = file.tell()
        if sys.platform != "win32":
            with suppress(OSError):  # a file system without locks
                flock(file, LOCK_EX | LOCK_NB)  # passes to the process, and ends with it
        process = subprocess.Popen(  # noqa: S603
            command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
            start_new_session=True,  # Ctrl-C reaches the sweep alone, which passes it on once
        )
    return Job(member, process, log, time.monotonic(), environment, run, log_begins=begins, summary=summary)


def is_written(log: Path) -> bool:
    """Return whether a process that a sweep started still has its log, though the sweep itself was killed."""
    try:
        with open_file(log) as file:
            if sys.platform != "win32":
                flock(file, LOCK_SH | LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


def outcome(sweep: SweepDirectory, job: Job) -> tuple[Status, str]:
    """Return the status of a run whose process has ended, and its error where it failed."""
    code = job.process.returncode
    run = sweep.find_run(job.member)
    told = _time_of_summary(run) != job.summary or job.summary is None  # else the summary is of an earlier attempt
    status = ended(run) if run is not None and told else None
    if code == 0 or status == "complete":
        return "complete", ""
    if code in INTERRUPTED or status == "interrupted" or (code < 0 and job.told):
        return "interrupted", ""
    if code < 0:
        name = signal.Signals(-code).name
        return "failed", f"killed by {name}" + (", as systems do when memory runs out" if name == "SIGKILL" else "")
    return "failed", _last_error(job.log, job.log_begins) or f"exit code {code}"


def _time_of_summary(run: RunDirectory | None) -> int | None:
    """Return when `summary.json` was written; None where there is none."""
    try:
        return None if run is None else (run.path / SUMMARY).stat().st_mtime_ns
    except OSError:
        return None


def ended(run: RunDirectory) -> Status | None:
    """Return the status of a run from its own files; None where it was killed or is still running."""
    status = run.read_json(SUMMARY).get("status")
    if status == "reached":
        return "complete"
    if status in ("complete", "interrupted", "failed"):
        return status  # type: ignore[no-any-return]
    return "complete" if _at_its_end(run) else None


def _at_its_end(run: RunDirectory) -> bool:
    """Return whether a run was killed between its last checkpoint and its summary."""
    try:
        length = run.read_recipe()["run"]
        rows = run.read_metrics()
        row = rows[-1]
        done = row["step"] >= length["steps"] if "steps" in length else row["epoch"] >= length["epochs"]
        if "target" in length:
            done = done or first_reaching(TargetOptions.model_validate(length["target"]), rows) is not None
        return bool(done) and (run.checkpoints / f"step_{row['step']:07d}").is_dir()
    except (RunDirectoryError, OSError, KeyError, TypeError, ValueError, IndexError):
        return False


def tail(file: Path, begins: int = 0) -> str:
    """Return the last few kilobytes of a text file from the byte `begins` on; empty where it cannot be read."""
    try:
        with open_file(file) as opened:
            opened.seek(max(begins, opened.seek(0, os.SEEK_END) - TAIL))
            return opened.read().decode(errors="replace")
    except OSError:
        return ""


def _last_error(log: Path, begins: int) -> str:
    """Return the last error message of the command, else its last line."""
    text = tail(log, begins).strip()
    _, found, error = f"\n{text}".rpartition(f"\n{ERROR}")
    return error if found else text.rpartition("\n")[2]
