"""Writing files so that a reader never sees half of one: beside, flushed, renamed."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ganzoo.errors import OutputError, RequestError


def write_atomic(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a file beside `path`, then put it in the place of `path` in one step.

    Raises:
        OutputError: it could not be written; what was at `path` is still there.
    """
    partial = path.with_name(f".{path.stem}.partial{path.suffix}")
    with output_errors(path):
        partial.unlink(missing_ok=True)  # a link there would be written through
        try:
            write(partial)
            sync(partial)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write text to `path` atomically."""
    write_atomic(path, lambda partial: partial.write_text(text, encoding="utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write bytes to `path` atomically."""
    write_atomic(path, lambda partial: partial.write_bytes(content))


def sync(path: Path) -> None:
    """Have the system put a file, or the names in a folder, on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_free(out: Path) -> None:
    """See that a folder can be made at `out` without anything being lost.

    Raises:
        RequestError: something is there.
    """
    if out.is_dir() and not out.is_symlink():
        if any(out.iterdir()):
            raise RequestError(f"--out {out}: is a folder with files in it; name one that is not there yet")
    elif out.exists() or out.is_symlink():
        raise RequestError(f"--out {out}: is there already; name a folder that is not there yet")


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder beside `out` to fill, which takes its place in one step; where that fails, nothing of it is left.

    Raises:
        RequestError: something is there, or no folder can be made there.
        OutputError: it could not be written.
    """
    check_free(out)
    out = out.absolute()
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    try:
        partial.mkdir(parents=True)
    except OSError as error:
        raise RequestError(f"--out {out}: cannot be made: {error.strerror}") from error
    with output_errors(out):
        try:
            yield partial
            sync(partial)
            partial.replace(out)
            sync(out.parent)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """Turn the system's errors while writing `path` into one that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OutputError(f"{path}: the disk is full: make room there, then `ganzoo resume` the run") from error
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error
