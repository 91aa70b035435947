"""LSUN: databases read in order, and clear errors for what is missing."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from dataset_files import gray_png, write_lsun
from ganzoo_datasets.configs import LSUNConfig
from ganzoo_datasets.lsun import LSUN
from killed import in_child

from ganzoo.data.packed_dataset import PackedDataset, pack_dataset
from ganzoo.errors import DataError


class FakeError(Exception):
    """What lmdb raises."""


class FakeEnvironment:
    """The little of lmdb's environment that is used, on a file with one gray value a line."""

    def __init__(self, path: str, **options) -> None:
        assert options["readonly"]
        assert not options["lock"]
        lines = (Path(path) / "data.mdb").read_text().split()
        if lines == ["damaged"]:
            raise FakeError("MDB_INVALID: File is not an LMDB file")
        self.items = {f"key{number}".encode(): gray_png(int(value)) for number, value in enumerate(lines)}

    def begin(self):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        pass

    def cursor(self):
        return self

    def iternext(self, *, keys: bool, values: bool):
        assert (keys, values) == (True, False)
        return iter(self.items)

    def get(self, key: bytes) -> bytes:
        return self.items[key]


class FakeLMDB:
    """Stands for the package where it is not installed."""

    open = FakeEnvironment
    Error = FakeError


def write_database(root: Path, name: str, values: str) -> None:
    (root / f"{name}_lmdb").mkdir(parents=True)
    (root / f"{name}_lmdb" / "data.mdb").write_text(values)


def prepare(tmp_path: Path, **options) -> PackedDataset:
    config = LSUNConfig(root=str(tmp_path), image_size=8, **options)
    return pack_dataset(LSUN(config), cache=tmp_path / "cache")


def test_one_database_has_no_labels(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "lmdb", FakeLMDB)
    write_database(tmp_path, "bedroom_train", "10 20 30")
    packed = prepare(tmp_path)
    assert packed.images[:, 0, 0, 0].tolist() == [10, 20, 30]
    assert packed.labels is None


def test_several_databases_are_classes(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "lmdb", FakeLMDB)
    write_database(tmp_path, "tower_val", "10 20")
    write_database(tmp_path, "bridge_val", "30")
    packed = prepare(tmp_path, scenes=("tower_val", "bridge_val"))
    assert packed.images[:, 0, 0, 0].tolist() == [10, 20, 30]
    assert packed.labels.tolist() == [0, 0, 1]
    assert packed.info.class_names == ("tower_val", "bridge_val")


def test_some_of_the_databases(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "lmdb", FakeLMDB)
    write_database(tmp_path, "tower_val", "10 20 25")
    write_database(tmp_path, "bridge_val", "30")
    scenes = ("tower_val", "bridge_val")
    packed = prepare(tmp_path, scenes=scenes, limit=2)
    assert packed.images[:, 0, 0, 0].tolist() == [10, 25]
    assert packed.labels.tolist() == [0, 0]
    packed = prepare(tmp_path, scenes=scenes, classes=("bridge_val",))
    assert packed.images[:, 0, 0, 0].tolist() == [30]
    assert packed.labels.tolist() == [0]
    assert len(prepare(tmp_path, scenes=scenes)) == 4


def test_a_real_database(tmp_path):
    pytest.importorskip("lmdb")
    path = write_lsun(tmp_path, "bedroom_val", (10, 20, 30))
    packed = prepare(tmp_path, scenes=("bedroom_val",))
    assert packed.images[:, 0, 0, 0].tolist() == [10, 20, 30]
    (path / "data.mdb").write_bytes(b"not a database" * 1000)
    with pytest.raises(DataError, match="is damaged or only partly unpacked"):
        prepare(tmp_path, scenes=("bedroom_val",))


def test_a_database_that_is_in_use_opens_again_also_when_it_is_another(tmp_path):
    pytest.importorskip("lmdb")
    path = write_lsun(tmp_path, "bedroom_val", (10, 20, 30))
    config = LSUNConfig(root=str(tmp_path), image_size=8, scenes=("bedroom_val",))
    first, second = (LSUN(config).open() for _ in range(2))
    assert np.array_equal(first[1][0], second[1][0])
    shutil.rmtree(path)
    write_lsun(tmp_path, "bedroom_val", (40, 50))
    assert prepare(tmp_path, scenes=("bedroom_val",)).images[:, 0, 0, 0].tolist() == [40, 50]
    assert len(first) == 3


@pytest.mark.slow
def test_a_truncated_database_is_told_and_kills_nobody(tmp_path):
    """LMDB maps as many pages as its header promises; to read one that is not there is SIGBUS."""
    pytest.importorskip("lmdb")
    file = write_lsun(tmp_path, "bedroom_val", tuple(range(200))) / "data.mdb"
    whole = file.read_bytes()
    assert len(prepare(tmp_path, scenes=("bedroom_val",))) == 200
    page = len(whole) // 9

    def cut(length: int) -> None:
        file.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"bedroom_val_lmdb is damaged or only partly unpacked \("):
            prepare(tmp_path, scenes=("bedroom_val",))

    for length in (len(whole) - 1, *range(page * 8, 0, -page), page + 100, 100):
        assert in_child(lambda length=length: cut(length)) == 0, length
    file.write_bytes(whole + bytes(page))
    assert len(prepare(tmp_path, scenes=("bedroom_val",))) == 200


def test_a_missing_database_says_what_to_fetch(tmp_path):
    with pytest.raises(DataError) as error:
        prepare(tmp_path, scenes=("bedroom_train", "tower_train"))
    text = str(error.value)
    assert str(tmp_path / "bedroom_train_lmdb" / "data.mdb") in text
    assert "tower_train_lmdb.zip" in text
    assert "dataset.root" in text


def test_a_damaged_database(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "lmdb", FakeLMDB)
    write_database(tmp_path, "bedroom_train", "damaged")
    with pytest.raises(DataError, match=r"bedroom_train_lmdb is damaged or only partly unpacked \(MDB_INVALID"):
        prepare(tmp_path)


def test_without_the_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "lmdb", None)
    write_database(tmp_path, "bedroom_train", "10")
    with pytest.raises(DataError, match="pip install lmdb"):
        prepare(tmp_path)
