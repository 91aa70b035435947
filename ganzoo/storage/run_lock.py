"""Lock of a run directory, in which one process at a time trains; the system releases it when the process ends."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from ganzoo.errors import RunDirectoryError
from ganzoo.storage.disk import output_errors, write_text
from ganzoo.storage.run_directory import RunDirectory
from ganzoo.text import parse_json

LOCK = ".lock"
HOLDER = ".process.json"
"""File that names the holder of the lock; not the locked file, which not every system lets others read."""


@contextmanager
def run_lock(directory: RunDirectory) -> Iterator[None]:
    """Hold the lock of a run directory.

    Raises:
        RunDirectoryError: another process holds it; the text names it.
        OutputError: nothing can be written there.
    """
    holder = directory.path / HOLDER
    lock = FileLock(directory.path / LOCK)
    with output_errors(directory.path):
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise RunDirectoryError(
                f"{directory}: {_name(holder)} is training in it; wait for its end, or stop it first"
            ) from None
    try:
        write_text(holder, json.dumps({"pid": os.getpid(), "host": platform.node()}) + "\n")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def _name(holder: Path) -> str:
    """Return a description of the process that wrote `holder`."""
    try:
        written = parse_json(holder.read_text(encoding="utf-8"))
        pid, host = int(written["pid"]), str(written["host"])
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
    return f"process {pid}" + (f" on {host}" if host != platform.node() else "")
