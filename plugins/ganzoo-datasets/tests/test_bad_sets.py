"""CelebA's archive and lists, MNIST, CIFAR-10, SVHN and LSUN in every state that a download leaves them in."""

from __future__ import annotations

import io
import os
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from ganzoo_datasets import celeba
from ganzoo_datasets.celeba import CelebA
from ganzoo_datasets.configs import CelebAConfig, CIFAR10Config, LSUNConfig, MNISTConfig, SVHNConfig
from ganzoo_datasets.lsun import LSUN
from ganzoo_datasets.torchvision_sets import CIFAR10, MNIST, SVHN
from PIL import Image
from torchvision import datasets as torchvision_datasets

from ganzoo.components.dataset import Dataset
from ganzoo.data.packed_dataset import PackedDataset, pack_dataset
from ganzoo.errors import DataError

COUNT = 4
NAMES = [f"{number:06d}.jpg" for number in range(1, COUNT + 1)]


@pytest.fixture(autouse=True)
def few_faces(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(celeba, "COMPLETE", COUNT)


def face(number: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (178, 218), 20 * number).save(file, "JPEG")
    return file.getvalue()


def faces(prefix: str = "img_align_celeba/") -> dict[str, bytes]:
    return {prefix + name: face(number) for number, name in enumerate(NAMES, start=1)}


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_STORED, comment: bytes = b"") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data, method)
        archive.comment = comment
    return file.getvalue()


def patched(data: bytes, local: int, central: int, value: bytes) -> bytes:
    """Change a field of every entry, at these places in the local and in the central header."""
    changed = bytearray(data)
    for magic, place in ((b"PK\x03\x04", local), (b"PK\x01\x02", central)):
        at = changed.find(magic)
        while at >= 0:
            changed[at + place : at + place + len(value)] = value
            at = changed.find(magic, at + 4)
    return bytes(changed)


def lying_about_size(data: bytes) -> bytes:
    return patched(data, 22, 24, struct.pack("<I", 1000))


def encrypted(data: bytes) -> bytes:
    return patched(data, 6, 8, struct.pack("<H", 1))


def tar(files: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return file.getvalue()


def flipped(data: bytes, part: bytes) -> bytes:
    at = data.index(part) + len(part) // 2
    return data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]


def prepare(dataset: Dataset, tmp_path: Path) -> PackedDataset:
    return pack_dataset(dataset, cache=tmp_path / "cache")


def celeba_in(folder: Path, **options) -> CelebA:
    return CelebA(CelebAConfig(root=str(folder), **{"image_size": 8, "download": False, **options}))


def grays(packed: PackedDataset) -> list[int]:
    return [round(value / 20) for value in packed.images.mean(axis=(1, 2, 3)).tolist()]


WHOLE = zipped(faces())
BOMB = b"\0" * (65 * 2**20)

TAKEN = {
    "as downloaded": WHOLE,
    "compressed": zipped(faces(), zipfile.ZIP_DEFLATED),
    "with a comment": zipped(faces(), comment=b"a comment " * 300),
    "with names that climb": zipped({**faces(), "../../../000009.jpg": face(9)}),
    "with absolute names": zipped({"/etc/000001.jpg": face(1), **faces("/tmp/img_align_celeba/")}),
    "with backslashes": zipped(faces("img_align_celeba\\")),
    "without folders": zipped(faces("")),
    "with an archive in it": zipped({"inner.zip": WHOLE, **faces()}),
    "with macOS's copies": zipped({**faces(), "__MACOSX/img_align_celeba/._000001.jpg": b"junk"}),
    "with bytes before it": b"#!/bin/sh\n" * 50 + WHOLE,
}
REFUSED = {
    "empty": (b"", "is damaged or only partly downloaded, with 0 MB of about 1,443 MB: download it again"),
    "truncated": (WHOLE[:-300], "download it again"),
    "its end alone": (WHOLE[-300:], "download it again"),
    "zeros": (b"\0" * 9000, "download it again"),
    "of no entries": (zipped({}), "holds no CelebA images"),
    "a tar": (tar(faces()), "download it again"),
    "a web page": (b"<!DOCTYPE html><title>Google Drive - Quota exceeded</title>", "is a web page and not the archive"),
    "a web page with a mark": (b"\xef\xbb\xbf\n <html>", "is a web page"),
    "another archive": (zipped({"cats/1.jpg": face(1)}), "holds no CelebA images"),
    "an archive in an archive": (zipped({"img_align_celeba.zip": WHOLE}), "holds no CelebA images"),
    "encrypted": (encrypted(WHOLE), "is encrypted: unpack it with its password"),
    "of one image too few": (zipped(dict(list(faces().items())[1:])), "holds 3 images of 4"),
    "with junk for the missing ones": (
        zipped({**dict(list(faces().items())[1:]), "a.txt": b"", "b.txt": b""}),
        "holds 3 images of 4",
    ),
    "with a bad sum": (flipped(WHOLE, face(2)), "000002.jpg: BadZipFile: Bad CRC-32"),
    "with a bomb": (
        zipped({**faces(), "img_align_celeba/000002.jpg": BOMB}, zipfile.ZIP_DEFLATED),
        "000002.jpg: 68 MB unpacked is too large",
    ),
    "with a bomb that says it is small": (
        lying_about_size(zipped({**faces(), "img_align_celeba/000002.jpg": BOMB}, zipfile.ZIP_DEFLATED)),
        "000002.jpg: BadZipFile: Bad CRC-32",
    ),
    "of an unknown compression": (
        patched(WHOLE, 8, 10, struct.pack("<H", 99)),
        "compression method is not supported",
    ),
    "with an image that is none": (zipped({**faces(), "img_align_celeba/000003.jpg": WHOLE}), "not an image"),
    "with an empty image": (zipped({**faces(), "img_align_celeba/000003.jpg": b""}), "000003.jpg: the file is empty"),
}


@pytest.mark.parametrize("state", TAKEN)
def test_celebas_archive_is_taken(tmp_path: Path, state: str):
    (tmp_path / "img_align_celeba.zip").write_bytes(TAKEN[state])
    before = sorted(tmp_path.rglob("*"))
    packed = prepare(celeba_in(tmp_path, allow_partial="climb" in state), tmp_path)
    assert grays(packed)[:COUNT] == [1, 2, 3, 4]
    assert sorted(path for path in tmp_path.rglob("*") if "cache" not in path.parts) == before
    assert not Path("/etc/000001.jpg").exists()


@pytest.mark.parametrize("state", REFUSED)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_celebas_archive_is_refused(tmp_path: Path, state: str):
    data, told = REFUSED[state]
    path = tmp_path / "img_align_celeba.zip"
    path.write_bytes(data)
    with pytest.raises(DataError) as error:
        prepare(celeba_in(tmp_path), tmp_path)
    assert told in str(error.value)
    assert str(path) in str(error.value)


def test_an_archive_that_lost_images_is_not_taken_for_the_pack_of_the_whole_one(tmp_path: Path):
    path = tmp_path / "img_align_celeba.zip"
    path.write_bytes(WHOLE)
    assert len(prepare(celeba_in(tmp_path), tmp_path)) == COUNT
    path.write_bytes(zipped(dict(list(faces().items())[:-1])))
    with pytest.raises(DataError, match="holds 3 images of 4"):
        prepare(celeba_in(tmp_path), tmp_path)
    path.write_bytes(zipped({**faces(), "img_align_celeba/000001.jpg": face(9)}))
    assert grays(prepare(celeba_in(tmp_path), tmp_path)) == [9, 2, 3, 4]


def test_a_ready_pack_is_opened_without_going_through_the_archives_names(tmp_path: Path, monkeypatch):
    (tmp_path / "img_align_celeba.zip").write_bytes(WHOLE)
    first = prepare(celeba_in(tmp_path), tmp_path)

    def unwanted(*arguments):
        raise AssertionError("the names were read")

    monkeypatch.setattr(zipfile.ZipFile, "__init__", unwanted)
    assert prepare(celeba_in(tmp_path), tmp_path).path == first.path


PARTITION = "".join(f"{name} {number % 3}\n" for number, name in enumerate(NAMES))
ATTRIBUTES = f"{COUNT}\nSmiling Male\n" + "".join(f"{name}  1 -1\n" for name in NAMES)
LISTS: dict[str, tuple[str, str, str]] = {
    "empty": ("list_eval_partition.txt", "", "names no image"),
    "a web page": ("list_eval_partition.txt", "<html>", "is a web page"),
    "cut off": ("list_eval_partition.txt", PARTITION[:30], "says nothing about 2 of the 4 images"),
    "cut off within a line": ("list_eval_partition.txt", PARTITION[:-3], "has 0 values for the image 000004"),
    "the list of attributes": ("list_eval_partition.txt", ATTRIBUTES, "has other values than 0 and 1 and 2"),
    "of unknown parts": ("list_eval_partition.txt", PARTITION.replace(" 2", " 7"), "has other values"),
    "attributes cut off": ("list_attr_celeba.txt", ATTRIBUTES[:-4], "has 1 values for the image 000004"),
    "the list of parts": ("list_attr_celeba.txt", PARTITION, "has other values than -1 and 1"),
    "attributes of other values": ("list_attr_celeba.txt", ATTRIBUTES.replace("-1", "?"), "has other values than -1"),
    "binary": ("list_attr_celeba.txt", "\0\x7f" * 500, "names no image"),
}


@pytest.mark.parametrize("state", LISTS)
def test_celebas_lists(tmp_path: Path, state: str):
    name, text, told = LISTS[state]
    (tmp_path / "img_align_celeba.zip").write_bytes(WHOLE)
    (tmp_path / name).write_text(text)
    options = {"split": "test"} if "partition" in name else {"attribute": "Smiling"}
    with pytest.raises(DataError) as error:
        prepare(celeba_in(tmp_path, **options), tmp_path)
    assert told in str(error.value)
    if "attribute" not in told:
        assert str(tmp_path / name) in str(error.value)
        assert "download it again" in str(error.value)


def idx(values: np.ndarray) -> bytes:
    return bytes([0, 0, 8, values.ndim]) + b"".join(n.to_bytes(4, "big") for n in values.shape) + values.tobytes()


DIGITS = idx(np.arange(12 * 28 * 28, dtype=np.uint32).astype(np.uint8).reshape(12, 28, 28))
LABELS = idx((np.arange(12) % 10).astype(np.uint8))
IMAGES_FILE, LABELS_FILE = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
IDX = {
    "whole": (IMAGES_FILE, DIGITS, None),
    "empty": (IMAGES_FILE, b"", "MNIST is damaged"),
    "header cut off": (IMAGES_FILE, DIGITS[:9], "MNIST is damaged"),
    "images cut off": (IMAGES_FILE, DIGITS[:5000], "MNIST is damaged"),
    "a number too many": (IMAGES_FILE, DIGITS + b"\0", "MNIST is damaged"),
    "another magic number": (IMAGES_FILE, b"\0\0\x07\x03" + DIGITS[4:], "not in the format"),
    "still compressed": (IMAGES_FILE, b"\x1f\x8b\x08\0" + zlib.compress(DIGITS), "MNIST is damaged"),
    "a web page": (IMAGES_FILE, b"<!DOCTYPE html>" * 99, "MNIST is damaged"),
    "of numbers with signs": (IMAGES_FILE, DIGITS[:2] + b"\x09" + DIGITS[3:], "MNIST is damaged"),
    "a count beyond memory": (IMAGES_FILE, DIGITS[:4] + b"\xff" * 12 + DIGITS[16:], "MNIST is damaged"),
    "labels in place of images": (IMAGES_FILE, LABELS, "MNIST is damaged"),
    "images in place of labels": (LABELS_FILE, DIGITS, "MNIST is damaged"),
    "fewer labels than images": (LABELS_FILE, idx(np.zeros(5, np.uint8)), "12 images and 5 labels"),
    "labels of no class": (LABELS_FILE, idx(np.full(12, 77, np.uint8)), "class index 77, and names 10 classes"),
}


@pytest.mark.parametrize("state", IDX)
def test_mnist(tmp_path: Path, state: str):
    name, data, told = IDX[state]
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    files = {IMAGES_FILE: DIGITS, LABELS_FILE: LABELS}
    for part, content in (files | {name: data}).items():
        (raw / part).write_bytes(content)
        (raw / part.replace("train", "t10k")).write_bytes(content)
    mnist = MNIST(MNISTConfig(root=str(tmp_path), download=False))
    if told is None:
        assert prepare(mnist, tmp_path).images.tobytes() == DIGITS[16:]
        return
    with pytest.raises(DataError) as error:
        prepare(mnist, tmp_path)
    assert told in str(error.value)
    if "class" not in told:
        assert str(raw / name) in str(error.value)
        assert "dataset.download = true" in str(error.value)


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.mkdir, (str(self.path),)


def cifar_files() -> list[str]:
    kind = torchvision_datasets.CIFAR10
    return [*(name for name, _ in kind.train_list + kind.test_list), kind.meta["filename"]]


@pytest.mark.parametrize("trapped", cifar_files())
@pytest.mark.parametrize("split", ["train", "test"])
def test_cifar10s_pickles_are_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trapped: str, split: str):
    """Not even where all the other files are the right ones."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    batch = {"data": np.zeros((2, 3072), np.uint8), "labels": [0, 1], "label_names": []}
    for name in cifar_files():
        (folder / name).write_bytes(pickle.dumps(Trap(tmp_path / "ran") if name == trapped else batch))

    def check(path: str, md5: str | None = None) -> bool:
        return Path(path).name != trapped

    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", check)
    with pytest.raises(DataError, match="CIFAR-10 is damaged or only partly there"):
        prepare(CIFAR10(CIFAR10Config(root=str(tmp_path), split=split, download=False)), tmp_path)
    assert not (tmp_path / "ran").exists()


def test_cifar10s_sums_are_the_real_ones(tmp_path: Path):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name in cifar_files():
        (folder / name).write_bytes(pickle.dumps(Trap(tmp_path / "ran")))
    with pytest.raises(DataError, match="CIFAR-10 is damaged"):
        prepare(CIFAR10(CIFAR10Config(root=str(tmp_path), download=False)), tmp_path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.filterwarnings("ignore")
def test_mnists_old_processed_files_are_not_run(tmp_path: Path):
    """torchvision prefers these, from its old versions, to the raw ones."""
    for name, data in ((IMAGES_FILE, DIGITS), (LABELS_FILE, LABELS)):
        for part in (name, name.replace("train", "t10k")):
            path = tmp_path / "MNIST" / "raw" / part
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    (tmp_path / "MNIST" / "processed").mkdir()
    for name in ("training.pt", "test.pt"):
        torch.save(Trap(tmp_path / "ran"), tmp_path / "MNIST" / "processed" / name)
    with pytest.raises(DataError, match="MNIST is damaged"):
        prepare(MNIST(MNISTConfig(root=str(tmp_path), download=False)), tmp_path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("data", [b"", b"MATLAB 5.0 MAT-file" + b"\0" * 500, b"<html>", pickle.dumps({}), b"\x89HDF"])
def test_svhn_garbage(tmp_path: Path, data: bytes):
    (tmp_path / "train_32x32.mat").write_bytes(data)
    with pytest.raises(DataError, match=r"SVHN is damaged .*remove .*train_32x32\.mat"):
        prepare(SVHN(SVHNConfig(root=str(tmp_path), download=False)), tmp_path)


@pytest.mark.parametrize("data", [b"", b"\0" * 8192, b"<html>" * 2000])
def test_lsun_garbage(tmp_path: Path, data: bytes):
    pytest.importorskip("lmdb")
    (tmp_path / "bedroom_train_lmdb").mkdir()
    (tmp_path / "bedroom_train_lmdb" / "data.mdb").write_bytes(data)
    with pytest.raises(DataError, match="bedroom_train_lmdb"):
        prepare(LSUN(LSUNConfig(root=str(tmp_path))), tmp_path)
