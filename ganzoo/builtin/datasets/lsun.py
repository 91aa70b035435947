"""LSUN scenes, one LMDB database for each category and split."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from PIL import Image
from torch.utils.data import ConcatDataset
from torch.utils.data import Dataset as TorchDataset

from ganzoo.builtin.datasets.configs import LSUNConfig
from ganzoo.builtin.datasets.files import FileDataset, decode_image
from ganzoo.components.dataset import ImageSource
from ganzoo.errors import DataError


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
                f"and unpack it there, or set dataset.root and dataset.classes to what you have"
            )
        _lmdb()

    def fingerprint(self) -> Sequence[object]:
        """Return names, sizes and times of the databases."""
        info = [(path.name, (path / "data.mdb").stat()) for path in self._databases()]
        return [(name, fact.st_size, fact.st_mtime_ns) for name, fact in info]

    def open(self) -> ImageSource:
        """Return the images, database after database, in the order of their keys.

        Raises:
            DataError: a database is damaged.
        """
        return ConcatDataset(_Database(path, label, self.config) for label, path in enumerate(self._databases()))

    def class_names(self) -> tuple[str, ...]:
        """Return the names of the databases, if there are several."""
        return self.config.classes if len(self.config.classes) > 1 else ()

    def _databases(self) -> list[Path]:
        return [self.root / f"{name}_lmdb" for name in self.config.classes]


class _Database(TorchDataset[tuple[Image.Image, int]]):
    """The images of one database, all of class `label`."""

    def __init__(self, path: Path, label: int, config: LSUNConfig) -> None:
        self._label, self._config = label, config
        lmdb = _lmdb()
        try:
            _check_length(path / "data.mdb")
            self._environment = lmdb.open(
                str(path), readonly=True, lock=False, readahead=False, meminit=False, max_readers=1024
            )
            with self._environment.begin() as transaction:
                keys = transaction.cursor().iternext(keys=True, values=False)
                self._keys: list[bytes] = list(islice(keys, config.limit))
        except (lmdb.Error, OSError) as error:
            raise DataError(f"{path} is damaged or only partly unpacked ({error}): unpack it again") from error

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        with self._environment.begin() as transaction:
            return decode_image(bytes(transaction.get(self._keys[index])), self._config), self._label


def _check_length(path: Path) -> None:
    """Check that a database is as long as its two headers say: LMDB maps all of that, and to read beyond it is SIGBUS.

    Raises:
        OSError: it is shorter.
    """
    needed, size, page_size = 0, path.stat().st_size, 0
    with path.open("rb") as file:
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
