"""Atomic writing of files, and checks for free space on the disk."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from safetensors import SafetensorError

from ganzoo.errors import GanzooError, OutputError, RequestError
from ganzoo.terminal import warn_once
from ganzoo.text import size_in_words


def write_atomic(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file of its own, then rename it to `path`; of several writers the last one counts.

    Raises:
        OutputError: it could not be written; what was at `path` is still there.
    """
    partial = _partial(path)
    with output_errors(path):
        try:
            with umask_mode(partial), library_errors(path):
                write(partial)
            sync(partial)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def check_writable(path: Path, out: Path | None = None) -> None:
    """Check that a file can be written at `path`, by making a temporary one beside it, as `write_atomic` does.

    Raises:
        RequestError: it cannot; the text names `out`, or else `path`.
    """
    partial = _partial(path)
    try:
        partial.touch()
        partial.unlink()
    except OSError as error:
        raise RequestError(f"--out {out or path}: cannot be written: {error.strerror}; name another place") from error


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.stem}.{uuid4().hex}.partial{path.suffix}")


def write_text(path: Path, text: str) -> None:
    """Write text to `path` atomically."""
    write_atomic(path, lambda partial: partial.write_text(text, encoding="utf-8"))


def sync(path: Path) -> None:
    """Flush a file, or the entries of a folder, to the disk; tell once where the file system does not do that.

    Raises:
        OSError: a file cannot be written to the disk, or there is no room for the entries.
    """
    if os.name != "posix" and path.is_dir():
        return
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _NO_FSYNC and (error.errno in _FULL or not path.is_dir()):
            raise
        what = "folders" if path.is_dir() else "files"
        warn_once(
            f"{what} cannot be flushed to the disk ({error.strerror}): a power cut may cost what was written last"
        )


_FULL = (errno.ENOSPC, errno.EDQUOT)
_NO_FSYNC = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)


@contextmanager
def umask_mode(path: Path) -> Iterator[None]:
    """Give the file that a library writes at `path` the permissions of any other, which the umask restricts."""
    path.touch()
    mode = path.stat().st_mode
    yield
    if path.stat().st_mode != mode:
        with suppress(OSError):  # a file system without permissions
            path.chmod(stat.S_IMODE(mode))


def expand_user(path: str | Path) -> Path:
    """Expand "~", unless nobody of that name has a home."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 (pathlib's own raises then)


def check_unused(out: Path, cure: str = "name one that is not there yet", option: str = "--out ") -> None:
    """Check that nothing is overwritten at `out`, a file or folder to be made.

    Raises:
        RequestError: a file, a link or a folder with files is there; the text ends with `cure`.
    """
    if not os.path.lexists(out):  # or its name is too long, of which pathlib's functions raise
        return
    if not out.is_dir() or out.is_symlink():
        raise RequestError(f"{option}{out}: is there already; {cure}")
    if any(out.iterdir()):
        raise RequestError(f"{option}{out}: is a folder with files in it; {cure}")


@contextmanager
def made_folder(folder: Path) -> Iterator[None]:
    """Make a folder and its parents, and at the end remove those that were not there before and are empty.

    Raises:
        OSError: it cannot be made.
    """
    missing = [place for place in (folder, *folder.parents) if not os.path.lexists(place)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    finally:
        for place in missing:
            with suppress(OSError):  # it holds what was made
                place.rmdir()


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Yield a temporary folder to fill, which is flushed and renamed to `out` at the end, or removed after an error.

    Raises:
        RequestError: something is there, or no folder can be made there.
        OutputError: it could not be written.
    """
    check_unused(out)
    out = out.absolute()
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # of a killed process that had this number
    try:
        with made_folder(partial), output_errors(out):
            try:
                yield partial
                for path in (*partial.rglob("*"), partial):
                    sync(path)
                partial.replace(out)
                sync(out.parent)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise RequestError(f"--out {out}: cannot be made: {error.strerror}") from error


@contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """Turn an OSError while writing `path` into an OutputError that names the cure."""
    try:
        yield
    except OSError as error:
        raise _not_written(path, error.strerror or str(error), full=error.errno in _FULL) from error


@contextmanager
def library_errors(path: Path) -> Iterator[None]:
    """Turn an error of torch or safetensors while writing `path`, often without the reason, into an OutputError."""
    try:
        yield
    except (RuntimeError, SafetensorError) as error:
        full = "No space left" in str(error) or shutil.disk_usage(nearest_existing(path)).free < SMALL
        raise _not_written(path, str(error), full=full) from error


def _not_written(path: Path, reason: str, *, full: bool) -> OutputError:
    if full:
        return OutputError(
            f"{path}: the disk is full: make room there, then `ganzoo resume` the run or repeat the command"
        )
    return OutputError(f"{path}: cannot be written: {reason}")


SMALL = 64 * 1024
"""What the files beside the tensors take."""


def check_room(path: Path, needed: int, what: str, cure: str, error: type[GanzooError] = OutputError) -> None:
    """Notice that `needed` bytes do not fit where `path` is or will be.

    Raises:
        OutputError: they do not; `error` where another kind is given.
    """
    usage = shutil.disk_usage(nearest_existing(path))
    if usage.total and usage.free < needed:
        free = size_in_words(usage.free)
        raise error(f"{path}: the disk is full: {what} needs about {size_in_words(needed)} and {free} are free: {cure}")


def nearest_existing(path: Path) -> Path:
    """Return the path itself, or its nearest parent that exists."""
    path = path.absolute()
    return next(place for place in (path, *path.parents) if os.path.lexists(place) or place == place.parent)
