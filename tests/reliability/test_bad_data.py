"""Every folder of the corpus: the good images have the right pixels, the bad ones are named with reason and cure."""

from __future__ import annotations

from pathlib import Path

import bad_data_corpus as corpus
import numpy as np
import pytest
from ganzoo_datasets.configs import ImageFolderConfig
from ganzoo_datasets.image_folder import ImageFolder
from permissions import heeded_permissions

from ganzoo.data.packed_dataset import PackedDataset, pack_dataset
from ganzoo.errors import DataError
from ganzoo.text import printable

FLAT = (10, 20, 30)


def prepare(root: Path, **options) -> PackedDataset:
    config = ImageFolderConfig(root=str(root), **{"image_size": 8, "resize": "box", **options})
    return pack_dataset(ImageFolder(config), cache=root.parent / "cache")


def corners(image: np.ndarray) -> np.ndarray:
    return image[[0, 0, -1, -1], [0, -1, 0, -1]].astype(int)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    return folder


def test_the_corpus_is_large():
    assert len(corpus.CASES) >= 90
    assert len({case.name for case in corpus.CASES}) == len(corpus.CASES)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("case", corpus.CASES, ids=str)
def test_case(case, root: Path):
    case.make(root)
    corpus.write(root / "~good.png", corpus.FLAT)
    packed = prepare(root, max_bad_fraction=0.99, **case.options)
    assert len(packed.skipped) == len(case.refused)
    for line, (name, reason) in zip(packed.skipped, sorted(case.refused.items()), strict=True):
        told = line.removeprefix(printable(root / name) + ": ")
        assert told != line
        assert told
        assert reason in told
        assert line.isprintable()
    if case.refused:
        with pytest.raises(DataError) as error:
            prepare(root, **case.options)
        assert error.value.exit_code == 2
        head, *listed, cure = str(error.value).splitlines()
        assert head.startswith(f"{len(case.refused)} of {len(case.refused) + len(case.taken) + 1} images")
        assert [line.strip() for line in listed] == list(packed.skipped)
        assert "dataset.max_bad_fraction" in cure
    expected = case.taken | {"~good.png": (FLAT,) * 4}
    assert len(packed) == len(expected)
    for image, (name, seen) in zip(packed.images, sorted(expected.items()), strict=True):
        assert np.abs(corners(image) - seen).max() <= case.tolerance, name


SEVERAL = {
    "PNG": corpus.encoded(corpus.noise(16)),
    "JPEG": corpus.encoded(corpus.noise(16), "JPEG"),
    "progressive JPEG": corpus.encoded(corpus.noise(16), "JPEG", progressive=True),
    "GIF": corpus.encoded(corpus.noise(16), "GIF"),
    "WebP": corpus.encoded(corpus.noise(16), "WEBP"),
    "TIFF": corpus.encoded(corpus.noise(16), "TIFF", compression="tiff_lzw"),
    "BMP": corpus.encoded(corpus.noise(16), "BMP"),
}


@pytest.mark.parametrize("kind", SEVERAL)
def test_a_file_cut_anywhere_is_refused(kind: str, root: Path):
    """But for a few bytes at its end without which nothing is missing."""
    whole = SEVERAL[kind]
    for length in range(0, len(whole), max(1, len(whole) // 60)):
        corpus.write(root / f"{length:05d}.png", whole[:length])
    corpus.write(root / "~good.png", whole)
    packed = prepare(root, max_bad_fraction=0.999)
    assert len(packed) + len(packed.skipped) == len(list(root.iterdir()))
    assert len(packed) <= 2
    assert (packed.images == packed.images[-1]).all()


@pytest.mark.parametrize("kind", SEVERAL)
def test_flipped_bits_stop_nothing_and_are_told_or_seen(kind: str, root: Path):
    whole, rng = SEVERAL[kind], np.random.default_rng(0)
    for number in range(100):
        flipped = bytearray(whole)
        flipped[rng.integers(len(whole))] ^= 1 << rng.integers(8)
        corpus.write(root / f"{number:03d}.png", bytes(flipped))
    corpus.write(root / "~good.png", whole)
    packed = prepare(root, max_bad_fraction=0.999)
    assert len(packed) + len(packed.skipped) == 101
    if kind == "PNG":  # it has sums over its parts; the others show the damage in the picture, if at all
        damaged = (packed.images != packed.images[-1]).any(axis=(1, 2, 3))
        assert not damaged.any()


def test_more_bad_images_than_one_wants_to_read_are_counted(root: Path):
    for number in range(25):
        (root / f"{number:02d}.png").touch()
    with pytest.raises(DataError) as error:
        prepare(root)
    lines = str(error.value).splitlines()
    assert len(lines) == 23
    assert lines[-2] == "  … and 5 more; `ganzoo data doctor` lists all"


def test_a_file_without_permission(root: Path):
    corpus.write(root / "a.png", corpus.PNG)
    (root / "a.png").chmod(0)
    with heeded_permissions(), pytest.raises(DataError, match=r"a\.png: Permission denied"):
        prepare(root)
