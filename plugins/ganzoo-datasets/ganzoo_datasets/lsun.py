"""LSUN scenes, one LMDB database for each category and split."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from PIL import Image

from ganzoo.plugin import DataError, LabeledImages, LabelSpec, SampleSource, decode_image, open_file
from ganzoo_datasets.configs import LSUNConfig
from ganzoo_datasets.files import FileDataset, file_info


class LSUN(FileDataset):
    """The images of one or more LSUN databases.

    Read here rather than by torchvision's LSUN, which leaves a pickle of all keys in the working
    directory and unpickles whatever it finds there under that name.
    """

    Config = LSUNConfig
    config: LSUNConfig

    def prepare(self) -> None:
        """Check that the databases are there.

        Raises:
            DataError: one is not there, or the package `lmdb` is not installed.
        """
        missing = [path for path in self._databases() if not (path / "data.mdb").is_file()]
        if missing:
            wanted = ", ".join(str(path / "data.mdb") for path in missing)
            raise DataError(
                f"LSUN is not complete in {self.config.root}: there is no {wanted}. Download "
                f"{', '.join(path.name + '.zip' for path in missing)} from http://dl.yf.io/lsun/scenes/ "
                f"and unpack it there, or set dataset.root and dataset.scenes to what you have"
            )
        _lmdb()

    def fingerprint(self) -> Sequence[object]:
        """Return names, sizes, times and some contents of the databases."""
        return [(path.name, *file_info([path / "data.mdb"])) for path in self._databases()]

    def open(self) -> SampleSource:
        """Return the images, database after database, in the order of their keys.

        Raises:
            DataError: a database is damaged.
        """
        scenes = [_database(path) for path in self._databases()]
        places = [(scene, index) for scene in scenes for index in range(len(scene.keys))]
        labels = [label for label, scene in enumerate(scenes) for _ in scene.keys]
        return LabeledImages(labels, lambda index: places[index][0].read(places[index][1], self.config))

    def labels(self) -> LabelSpec | None:
        """Return the names of the databases, if there are several."""
        return LabelSpec.classes(self.config.scenes) if len(self.config.scenes) > 1 else None

    def _databases(self) -> list[Path]:
        return [self.root / f"{name}_lmdb" for name in self.config.scenes]


class _Database:
    """An open database, and the keys of its images."""

    def __init__(self, path: Path) -> None:
        lmdb = _lmdb()
        self.environment: Any = None
        try:
            _check_length(path / "data.mdb")
            self.environment = lmdb.open(
                str(path), readonly=True, lock=False, readahead=False, meminit=False, max_readers=1024
            )
            with self.environment.begin() as transaction:
                self.keys: list[bytes] = list(transaction.cursor().iternext(keys=True, values=False))
        except (lmdb.Error, OSError) as error:
            if self.environment is not None:  # a notebook keeps the error, and this with it
                self.environment.close()
            raise DataError(f"{path} is damaged or only partly unpacked ({error}): unpack it again") from error
        self.version = _version(path)

    def read(self, index: int, config: LSUNConfig) -> Image.Image:
        with self.environment.begin() as transaction:
            return decode_image(bytes(transaction.get(self.keys[index])), config)


_OPENED: WeakValueDictionary[Path, _Database] = WeakValueDictionary()
"""The databases in use, of the whole process: LMDB opens each but once in it."""


def _database(path: Path) -> _Database:
    """Return the database at a path, opened where it is not, or is another one by now.

    Raises:
        DataError: it is damaged.
    """
    place = path.resolve()
    found = _OPENED.get(place)
    if found is None or found.version != _version(path):
        if found is not None:
            found.environment.close()
        _OPENED[place] = found = _Database(path)
    return found


def _version(path: Path) -> tuple[int, int, int]:
    """Return what differs once a database is unpacked again."""
    told = (path / "data.mdb").stat()
    return told.st_ino, told.st_size, told.st_mtime_ns


def _check_length(path: Path) -> None:
    """Check that a database is as long as its two headers say: LMDB maps all of that, and to read beyond it is SIGBUS.

    Raises:
        OSError: it is shorter.
    """
    needed, size, page_size = 0, path.stat().st_size, 0
    with open_file(path) as file:
        for number in range(2):
            file.seek(number * page_size)
            header = file.read(_HEADER.size)
            if len(header) < _HEADER.size or _HEADER.unpack(header)[0] != _MAGIC:
                break  # none of LMDB's, as it says itself
            _, page_size, last_page = _HEADER.unpack(header)
            needed = max(needed, (last_page + 1) * page_size, 2 * page_size)
    if size < needed:
        raise OSError(f"{size} bytes of {needed} are there")


_HEADER = struct.Struct("=16xI20xI92xQ")
"""Of a database: the magic number, bytes in a page and the number of the last page; `MDB_meta` of lmdb's mdb.c."""
_MAGIC = 0xBEEFC0DE


def _lmdb() -> Any:
    try:
        import lmdb
    except ImportError as error:
        raise DataError("LSUN comes as LMDB databases: pip install lmdb") from error
    return lmdb
