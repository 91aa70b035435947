"""Packs that memory does not hold: the same batches, from the pages that are wanted and no others."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from ganzoo.components.spec import DatasetInfo, ImageSpec
from ganzoo.data import loader as module
from ganzoo.data.loader import Loader, large_map
from ganzoo.data.packed_dataset import PackedDataset
from ganzoo.runtime.memory import physical_memory

COUNT, SIDE, BATCH = 4_000, 64, 32

pytestmark = pytest.mark.skipif(not hasattr(mmap.mmap, "madvise"), reason="the system takes no such hints")


@pytest.fixture
def packed(tmp_path: Path) -> PackedDataset:
    """49 MB, of which the system holds nothing in memory."""
    path = tmp_path / "images.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (COUNT, SIDE, SIDE, 3), dtype=np.uint8))
    forget(path)
    return PackedDataset(np.load(path, mmap_mode="r"), None, DatasetInfo(ImageSpec(3, SIDE, SIDE)), (), path, "")


def forget(path: Path) -> None:
    if not hasattr(os, "posix_fadvise"):
        pytest.skip("the system cannot be told to forget a file")
    with path.open("rb") as file:
        os.fdatasync(file.fileno())  # as os.fsync, which the tests replace
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def bytes_read() -> int:
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("read_bytes"))


def loader(packed: PackedDataset, memory: int, monkeypatch: pytest.MonkeyPatch) -> Loader:
    with monkeypatch.context() as machine:
        machine.setattr(module, "physical_memory", lambda: memory)
        return Loader(packed, batch_size=BATCH, seed=0, device="cpu")


def test_memory_of_the_machine():
    assert 1e8 < physical_memory() < 1e14


def test_batches_are_the_same_at_any_position(packed: PackedDataset, monkeypatch: pytest.MonkeyPatch):
    small, large = loader(packed, 10**6, monkeypatch), loader(packed, 10**12, monkeypatch)
    for position in (0, BATCH, COUNT - BATCH // 2, COUNT - 1, 5 * COUNT):
        small.seek(position)
        large.seek(position)
        for _ in range(2):
            assert torch.equal(small.next().real, large.next().real)


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="needs /proc")
def test_no_more_is_read_than_the_images_and_their_pages(packed: PackedDataset, monkeypatch: pytest.MonkeyPatch):
    wanted = 11 * BATCH * (SIDE * SIDE * 3 + 2 * mmap.PAGESIZE)  # ten batches, and one ahead
    before = bytes_read()
    small = loader(packed, 10**6, monkeypatch)
    for _ in range(10):
        small.next()
    read = bytes_read() - before
    if not read:
        pytest.skip("files here do not come from a disk")
    assert read <= wanted


@pytest.mark.parametrize("images", [np.zeros((8, 4, 4, 3), np.uint8), None])
def test_what_is_no_map_of_a_whole_file_is_left_alone(packed: PackedDataset, images, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "physical_memory", lambda: 1)
    part = packed.images[4:] if images is None else images
    assert large_map(part) is None
