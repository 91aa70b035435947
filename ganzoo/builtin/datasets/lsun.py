"""LSUN scenes, one LMDB database for each category and split."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from PIL import Image

from ganzoo.builtin.datasets.configs import LSUNConfig
from ganzoo.builtin.datasets.files import decode_image
from ganzoo.components.dataset import Dataset, SampleSource
from ganzoo.components.spec import LabelSpec
from ganzoo.errors import DataError


class LSUN(Dataset):
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
        """Return names, sizes and times of the databases."""
        info = [(path.name, (path / "data.mdb").stat()) for path in self._databases()]
        return [(name, fact.st_size, fact.st_mtime_ns) for name, fact in info]

    def open(self) -> SampleSource:
        """Return the images, database after database, in the order of their keys.

        Raises:
            DataError: a database is damaged.
        """
        return _Scenes([_Database(path, self.config) for path in self._databases()])

    def labels(self) -> LabelSpec | None:
        """Return the names of the databases, if there are several."""
        return LabelSpec.classes(self.config.scenes) if len(self.config.scenes) > 1 else None

    def _databases(self) -> list[Path]:
        root = Path(self.config.root).expanduser()
        return [root / f"{name}_lmdb" for name in self.config.scenes]


class _Database:
    def __init__(self, path: Path, config: LSUNConfig) -> None:
        self._config = config
        lmdb = _lmdb()
        try:
            self._environment = lmdb.open(
                str(path), readonly=True, lock=False, readahead=False, meminit=False, max_readers=1024
            )
            with self._environment.begin() as transaction:
                self.keys: list[bytes] = list(transaction.cursor().iternext(keys=True, values=False))
        except lmdb.Error as error:
            raise DataError(f"{path} is damaged or only partly unpacked ({error}): unpack it again") from error

    def read(self, index: int) -> Image.Image:
        with self._environment.begin() as transaction:
            return decode_image(bytes(transaction.get(self.keys[index])), self._config)


class _Scenes:
    def __init__(self, databases: list[_Database]) -> None:
        self._databases = databases
        self._starts = list(accumulate((len(database.keys) for database in databases), initial=0))

    @property
    def targets(self) -> list[int]:
        return [label for label, database in enumerate(self._databases) for _ in database.keys]

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        label = bisect_right(self._starts, index) - 1
        return self._databases[label].read(index - self._starts[label]), label


def _lmdb() -> Any:
    try:
        import lmdb
    except ImportError as error:
        raise DataError("LSUN comes as LMDB databases: pip install lmdb") from error
    return lmdb
