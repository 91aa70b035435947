"""Read files and folders that somebody else may have made: regular files of a bounded size, and no link that leads out.

A pipe in the place of a file would block for ever, a file with a hole of gigabytes would fill the memory, and a link
would have a file elsewhere read or written.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from io import BufferedReader
from pathlib import Path

from ganzoo.errors import RunDirectoryError
from ganzoo.text import size_in_words

TEXT = 64 * 2**20
"""Largest file in bytes that is read as one text; ganzoo's own are far smaller."""
PIECE = 2**20
"""Bytes that are read at a time where a file has more than it told."""
LOG, LINE = 2**32, 2**20
"""Largest file in bytes that is read line by line, and its longest line."""
PICTURE = 2**28
"""Largest file in bytes that is opened as a picture of samples."""


class UnfitFileError(OSError):
    """A path is no regular file, or one that is too large."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.strerror = text


class CodeError(ValueError):
    """A file cannot be loaded without running code that it names."""


def open_file(path: Path, largest: int | None = None) -> BufferedReader:
    """Open a regular file to read its bytes, without waiting for anything.

    Args:
        path: the file; links are followed.
        largest: most bytes that it may have; default: any number.

    Raises:
        OSError: it cannot be opened, is a folder, pipe, socket or device, or is larger.
    """
    _check_kind(path.stat().st_mode)  # before: opening alone makes some devices act
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags)
    try:
        opened = os.fstat(descriptor)
        _check_kind(opened.st_mode)
        if largest is not None and opened.st_size > largest:
            raise UnfitFileError(f"it has {size_in_words(opened.st_size)}, more than the {size_in_words(largest)} read")
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_bytes(path: Path, largest: int = TEXT) -> bytes:
    """Return the content of a file; raises as `open_file` does."""
    with open_file(path, largest) as file:
        content = file.read(os.fstat(file.fileno()).st_size + 1)  # memory of the file's size, not of the largest
        # More where it grew, or where the system tells no size, as in /proc: piece by piece, for the same reason.
        while len(content) <= largest and (more := file.read(min(PIECE, largest + 1 - len(content)))):
            content += more
    if len(content) > largest:  # it grew meanwhile
        raise UnfitFileError(f"it has more than the {size_in_words(largest)} read")
    return content


def read_text(path: Path, largest: int = TEXT, *, encoding: str = "utf-8", errors: str = "strict") -> str:
    """Return the text of a file, its lines ended by `\\n`; raises as `open_file` does, and UnicodeDecodeError."""
    text = read_bytes(path, largest).decode(encoding, errors)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_lines(path: Path) -> Iterator[str]:
    """Yield the lines of a file, cut where they are too long to be any of ganzoo's.

    Raises:
        OSError: as `open_file` does.
    """
    with open_file(path, LOG) as file:
        while line := file.readline(LINE):
            yield line.decode("utf-8", "replace")


def check_contents(folder: Path, level: int = 0, allowed: Callable[[Path], bool] | None = None) -> None:
    """Check that a folder holds files and folders alone, and no link that leads out of it.

    Folders in a run directory that are none of ganzoo's own are not looked into: trackers keep their files there, and
    W&B links its log to that of its service.

    Args:
        folder: the run directory, sweep or export, which may be reached by a link itself.
        level: how many folders below it the run directories are.
        allowed: says which links may lead out; default: none.

    Raises:
        RunDirectoryError: it holds anything else.
    """
    whole = folder.resolve()
    for place, folders, files in os.walk(folder):
        for path in (Path(place, name) for name in (*folders, *files)):
            try:
                mode = path.lstat().st_mode
            except FileNotFoundError:  # removed meanwhile, by a run that goes on
                continue
            if stat.S_ISLNK(mode):
                if not path.resolve().is_relative_to(whole) and not (allowed and allowed(path)):
                    raise RunDirectoryError(
                        f"{path}: is a link that leads out of {folder}, and is not followed: "
                        f"put what it leads to in its place"
                    )
            elif not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
                raise RunDirectoryError(f"{path}: is {_kind(mode)}, which nothing here should be: remove it")
            elif stat.S_ISDIR(mode) and path.suffix in _SUFFIXES:
                raise RunDirectoryError(f"{path}: is a folder, where only a file can be: remove it")
        if len(Path(place).relative_to(folder).parts) == level:
            folders[:] = [name for name in folders if name in OWN]


OWN = ("checkpoints", "failure", "plugins", "samples")
"""Folders of a run directory and of an export."""
_SUFFIXES = (".gif", ".json", ".jsonl", ".log", ".png", ".pt", ".safetensors", ".toml")


def _check_kind(mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode):
        raise UnfitFileError(f"it is {_kind(mode)}, not a file")


def _kind(mode: int) -> str:
    return {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}.get(stat.S_IFMT(mode), "a device")
