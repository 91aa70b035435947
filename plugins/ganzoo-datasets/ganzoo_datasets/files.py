"""Files of a dataset: found and read, in zips too; arrays in them."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from ganzoo.plugin import DataError, Dataset, ImageDatasetConfig, open_file, read_bytes

_LARGEST_FILE = 1024**3
_FILES_LOOKED_INTO = 64
_END = 2**16
ARRAYS = frozenset((".npy", ".npz"))
"""Suffixes of files with arrays."""
_ENCRYPTED = 1


class FileDataset(Dataset):
    """A dataset of files under one folder."""

    @property
    def root(self) -> Path:
        """The folder or file that `dataset.root` names."""
        root = Path(self.config.root)
        with suppress(RuntimeError):  # nobody of the name after a "~" has a home
            root = root.expanduser()
        return root


def file_info(paths: Iterable[Path]) -> list[tuple[str, int, int, int]]:
    """Return the name, size in bytes and time in ns of each file, and the checksum of its ends."""
    return [(path.name, fact.st_size, fact.st_mtime_ns, _ends_crc(path)) for path in paths for fact in [path.stat()]]


def some_contents(paths: Sequence[Path]) -> list[int]:
    """Return the checksums of the ends of some files spread over all of these.

    They tell folders apart whose files have the same names, sizes and times, as archives give them one time.
    """
    count = min(len(paths), _FILES_LOOKED_INTO)
    return [_ends_crc(paths[index * len(paths) // count]) for index in range(count)]


def _ends_crc(path: Path) -> int:
    """Return the CRC-32 of the first and last 64 KiB of a file; 0 where it cannot be read, which reading reports."""
    try:
        with open_file(path) as file:
            checksum = zlib.crc32(file.read(_END))
            file.seek(max(0, path.stat().st_size - _END))
            return zlib.crc32(file.read(_END), checksum)
    except OSError:
        return 0


def read_file(path: Path, config: ImageDatasetConfig | None = None) -> bytes:
    """Read a file of at most a gigabyte, or of eight bytes for each of the dataset's `max_pixels`.

    Raises:
        OSError: it cannot be read, or is no regular file.
        ValueError: it is larger.
    """
    largest = max(_LARGEST_FILE, 8 * ((config and config.max_pixels) or 0))
    if path.stat().st_size > largest:
        raise ValueError("the file is larger than a gigabyte: set dataset.max_pixels where it is what it should be")
    return read_bytes(path, largest)


def decode_array(data: bytes, suffix: str, bands: Sequence[int] | None = None) -> npt.NDArray[Any]:
    """Decode the array of a `.npy` file, or the only one of a `.npz` file, and take these of its channels.

    Raises:
        OSError, ValueError: the file is damaged, holds objects or several arrays, or has no such channel.
    """
    if suffix.lower() == ".npz":
        try:
            archive = zipfile.ZipFile(io.BytesIO(data))
            names = archive.namelist()
            if len(names) != 1:
                raise ValueError(f"holds {len(names)} arrays ({', '.join(names[:5])}): leave one in it")
            if archive.getinfo(names[0]).file_size > _LARGEST_FILE:
                raise ValueError("the array is larger than a gigabyte")
            data = archive.read(names[0])
        except zipfile.BadZipFile as error:
            raise ValueError("is not a file that numpy.savez makes") from error
    array: npt.NDArray[Any] = np.load(io.BytesIO(data), allow_pickle=False)
    if bands is None:
        return array
    if array.ndim != 3 or max(bands) >= array.shape[2]:
        raise ValueError(f"is an array of shape {array.shape}, which has no channels {list(bands)} in its last axis")
    return array[:, :, list(bands)]


class Archive:
    """The files in a zip, read only into memory, so that no name in it becomes a path on the disk.

    Args:
        place: the zip.
        largest: most bytes that a file in it may unpack to.
    """

    def __init__(self, place: Path, largest: int) -> None:
        self.place = place
        self._largest = largest
        self._lock = Lock()

    def read(self, member: zipfile.ZipInfo) -> bytes:
        """Return the bytes of a file.

        Raises:
            ValueError: it is too large.
        """
        if member.file_size > self._largest:
            raise ValueError(f"{member.file_size / 1e6:,.0f} MB unpacked is too large for one of these images")
        with self._lock:
            return self._archive.read(member)

    @cached_property
    def members(self) -> dict[str, zipfile.ZipInfo]:
        """The files by their names in it, with `/` between folders, of equal ones the first.

        Raises:
            DataError: the zip is damaged or encrypted.
        """
        members: dict[str, zipfile.ZipInfo] = {}
        for member in self._archive.infolist():
            if not member.is_dir():  # some programs on Windows write \
                members.setdefault(member.filename.replace("\\", "/").lstrip("/"), member)
        if any(member.flag_bits & _ENCRYPTED for member in members.values()):
            raise DataError(f"{self.place} is encrypted: {self.encrypted_cure}")
        return members

    encrypted_cure = "unpack it with its password, and set dataset.root to the folder"

    @cached_property
    def _archive(self) -> zipfile.ZipFile:
        try:
            return zipfile.ZipFile(self.place)
        except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError) as error:
            raise DataError(self.damage()) from error

    def damage(self) -> str:
        """Return what is wrong with a file that is no zip, and the cure."""
        what = "is a web page and not the archive" if is_web_page(self.place) else "is damaged, or no zip archive"
        return f"{self.place} {what}: download it again"


def is_web_page(path: Path) -> bool:
    """Return whether a file begins like a web page, as a download may that was refused."""
    with open_file(path) as file:
        return file.read(512).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")
