"""The stream of minibatches: complete, repeatable, seekable, and the same however it is split."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ganzoo.components.spec import DatasetInfo, ImageSpec, LabelSpec
from ganzoo.data.loader import Loader
from ganzoo.data.packed_dataset import PackedDataset
from ganzoo.errors import DataError, RequestError


def make_pack(count: int = 10, *, labels: bool = True, channels: int = 3, folder: Path | None = None) -> PackedDataset:
    """A pack whose image i is i in its left column and 100 elsewhere, and whose label is i mod 4."""
    images = np.full((count, 4, 4, channels), 100, dtype=np.uint8)
    images[:, :, 0] = np.arange(count)[:, None, None]
    images.flags.writeable = False
    if folder is not None:
        np.save(folder / "images.npy", images)
        images = np.load(folder / "images.npy", mmap_mode="r")
    classes = ("a", "b", "c", "d") if labels else ()
    indices = (np.arange(count) % 4).astype(np.int64) if labels else None
    return PackedDataset(
        images, indices, DatasetInfo(ImageSpec(channels, 4, 4), LabelSpec.classes(classes)), (), Path(), ""
    )


def make_loader(packed: PackedDataset | None = None, **options) -> Loader:
    return Loader(packed or make_pack(), **{"batch_size": 4, "seed": 0, "device": "cpu", **options})


def to_gray(images: torch.Tensor) -> torch.Tensor:
    return ((images + 1) * 127.5).round().long()


def drawn(images: torch.Tensor) -> list[int]:
    """Which images these are; in a mirrored one the left column is on the right."""
    gray = to_gray(images)
    left, right = gray[:, 0, 0, 0], gray[:, 0, 0, -1]
    return torch.where(left == 100, right, left).tolist()


def draw(loader: Loader, steps: int) -> list[int]:
    return [index for _ in range(steps) for index in drawn(loader.next().real)]


def test_batches_are_normalized_channels_last_floats():
    packed = make_pack()
    batch = make_loader(packed).next()
    assert batch.real.shape == (4, 3, 4, 4)
    assert batch.real.dtype == torch.float32
    assert batch.real.is_contiguous(memory_format=torch.channels_last)
    assert batch.labels is not None
    assert batch.labels.dtype == torch.int64
    for image, index, label in zip(batch.real, drawn(batch.real), batch.labels, strict=True):
        expected = torch.tensor(packed.images[index], dtype=torch.float32) / 127.5 - 1
        torch.testing.assert_close(image, expected.permute(2, 0, 1))
        assert label == index % 4


def test_black_is_exactly_minus_one_and_white_exactly_one():
    images = np.zeros((2, 4, 4, 1), dtype=np.uint8)
    images[1] = 255
    packed = PackedDataset(images, None, DatasetInfo(ImageSpec(1, 4, 4)), (), Path(), "")
    batch = make_loader(packed, batch_size=2).next()
    assert sorted(batch.real.unique().tolist()) == [-1.0, 1.0]
    assert batch.labels is None


@pytest.mark.parametrize("batch_size", [1, 3, 4, 7, 10])
def test_every_image_once_an_epoch_and_none_dropped(batch_size):
    stream = draw(make_loader(batch_size=batch_size), 30)
    for start in range(0, len(stream) - 9, 10):
        assert sorted(stream[start : start + 10]) == list(range(10))


def test_epochs_and_seeds_differ():
    loader = make_loader(make_pack(64), batch_size=64)
    first, second = draw(loader, 1), draw(loader, 1)
    assert first != second
    assert first != draw(make_loader(make_pack(64), batch_size=64, seed=1), 1)
    assert first == draw(make_loader(make_pack(64), batch_size=64), 1)


def test_the_order_does_not_depend_on_the_batch_size():
    assert draw(make_loader(batch_size=4), 10) == draw(make_loader(batch_size=10), 4)


def test_seek_restores_everything():
    loader = make_loader(horizontal_flip=True)
    for _ in range(7):
        loader.next()
    position = loader.position
    assert position == 28
    expected = [loader.next() for _ in range(6)]
    for resumed in (loader, make_loader(horizontal_flip=True)):
        resumed.seek(position)
        for batch in expected:
            again = resumed.next()
            assert torch.equal(again.real, batch.real)
            assert torch.equal(again.labels, batch.labels)


def test_seek_backwards_and_far_ahead():
    loader = make_loader()
    start = draw(loader, 2)
    loader.seek(10**12)
    far = draw(loader, 5)
    loader.seek(0)
    assert draw(loader, 2) == start
    loader.seek(10**12)
    assert draw(loader, 5) == far


def test_mirroring_is_half_of_the_images_and_repeatable():
    packed = make_pack(90)
    loader = make_loader(packed, batch_size=90, horizontal_flip=True)
    first = loader.next().real
    mirrored = to_gray(first)[:, 0, 0, -1] != 100
    assert 25 <= int(mirrored.sum()) <= 65
    assert torch.equal(make_loader(packed, batch_size=90, horizontal_flip=True).next().real, first)
    assert first.is_contiguous(memory_format=torch.channels_last)
    assert drawn(first) == draw(make_loader(packed, batch_size=90), 1)
    second = loader.next().real
    in_second = to_gray(second)[:, 0, 0, -1] != 100
    assert not torch.equal(mirrored, in_second)
    assert dict(zip(drawn(first), mirrored.tolist(), strict=True)) != dict(
        zip(drawn(second), in_second.tolist(), strict=True)
    )


def test_mirroring_does_not_depend_on_the_batch_size():
    small = make_loader(batch_size=2, horizontal_flip=True)
    large = make_loader(batch_size=10, horizontal_flip=True)
    parts = torch.cat([small.next().real for _ in range(10)])
    assert torch.equal(parts, torch.cat([large.next().real for _ in range(2)]))


@pytest.mark.parametrize("world_size", [2, 4])
def test_ranks_share_each_batch(world_size):
    whole = make_loader(horizontal_flip=True)
    ranks = [make_loader(horizontal_flip=True, rank=rank, world_size=world_size) for rank in range(world_size)]
    for _ in range(8):
        batch = whole.next()
        parts = [loader.next() for loader in ranks]
        assert torch.equal(torch.cat([part.real for part in parts]), batch.real)
        assert torch.equal(torch.cat([part.labels for part in parts]), batch.labels)
        assert {loader.position for loader in ranks} == {whole.position}


def test_ranks_share_each_minibatch_of_a_step():
    whole = make_loader(batch_size=8, minibatches=2).next().real
    ranks = [make_loader(batch_size=8, minibatches=2, rank=rank, world_size=2).next().real for rank in range(2)]
    assert torch.equal(torch.cat([images.chunk(2)[number] for number in range(2) for images in ranks]), whole)


def test_conditions_of_their_own_are_mirrored_on_their_own():
    packed = make_pack(90, labels=False)
    packed = replace(packed, conditions=packed.images, paired=False)
    batch = make_loader(packed, batch_size=90, horizontal_flip=True).next()
    samples, conditions = (to_gray(images)[:, 0, 0, -1] != 100 for images in (batch.real, batch.condition))
    assert 25 <= int(conditions.sum()) <= 65
    assert 25 <= int((samples != conditions).sum()) <= 65


def test_placements_give_the_same_batches():
    host = make_loader(placement="host", horizontal_flip=True)
    device = make_loader(placement="device", horizontal_flip=True)
    assert (host.placement, device.placement) == ("host", "device")
    for _ in range(6):
        assert torch.equal(host.next().real, device.next().real)


def test_a_memory_map_is_used_as_it_is_without_a_warning(tmp_path):
    packed = make_pack(folder=tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loader = make_loader(packed)
        assert loader.placement == "host"
        assert sorted(draw(loader, 5)[:10]) == list(range(10))


@pytest.mark.parametrize(("free", "placement"), [(10_000, "device"), (900, "host")])
def test_auto_places_the_pack_on_a_gpu_with_room(monkeypatch, free, placement):
    from ganzoo.data import loader as loader

    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 10 * free))
    assert loader._place(make_pack(), torch.device("cuda"), "auto") == placement


@pytest.mark.parametrize("wanted", ["host", "device"])
def test_a_placement_that_is_asked_for_is_taken(monkeypatch, wanted):
    from ganzoo.data import loader as loader

    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 10_000))
    assert loader._place(make_pack(), torch.device("cuda"), wanted) == wanted
    assert make_loader(placement=wanted).placement == wanted


def test_a_pack_that_cannot_be_on_the_device_is_an_error_with_the_cure(monkeypatch):
    from ganzoo.data import loader as loader

    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (100, 1000))
    with pytest.raises(RequestError, match=r'dataset\.placement is "device".*set it to "auto" or "host"'):
        loader._place(make_pack(), torch.device("cuda"), "device")


def test_reading_ahead_gives_the_same_batches_also_after_a_seek(monkeypatch):
    """What a GPU's feed does while the device computes, without its pinned memory."""
    from concurrent.futures import ThreadPoolExecutor

    from ganzoo.data import loader as module

    monkeypatch.setattr(module, "_pinned", lambda shape, dtype: torch.empty(shape, dtype=dtype))
    plain, ahead = make_loader(horizontal_flip=True), make_loader(horizontal_flip=True)
    (stored, _), *_ = ahead._parts
    stored._reader = ThreadPoolExecutor(1)
    for step in range(12):
        expected, batch = plain.next(), ahead.next()
        assert torch.equal(batch.real, expected.real)
        assert torch.equal(batch.labels, expected.labels)
        if step % 4 == 3:
            for loader in (plain, ahead):
                loader.seek(5 * step)
    assert stored._ahead is not None
    stored._reader.shutdown()


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("placement", ["host", "device"])
def test_batches_on_a_gpu_are_those_on_the_cpu(placement):
    options = {"horizontal_flip": True, "batch_size": 3}
    cpu, gpu = make_loader(**options), make_loader(device="cuda", placement=placement, **options)
    for step in range(20):
        expected, batch = cpu.next(), gpu.next()
        assert batch.real.device.type == "cuda"
        torch.testing.assert_close(batch.real.cpu(), expected.real)
        assert torch.equal(batch.labels.cpu(), expected.labels)
        if step == 10:
            for loader in (cpu, gpu):
                loader.seek(7)


def test_a_dataset_smaller_than_a_batch_is_an_error_with_both_numbers():
    with pytest.raises(DataError, match=r"10 images and trainer\.batch_size is 11: set trainer\.batch_size to 10"):
        make_loader(batch_size=11)
    with pytest.raises(DataError, match=r"is 6, and a step takes 2 minibatches: set trainer\.batch_size to 5 or less"):
        make_loader(batch_size=12, minibatches=2)


def test_a_batch_that_does_not_split_over_the_processes_is_an_error():
    with pytest.raises(RequestError, match=r"trainer\.batch_size is 4 and there are 3 processes.*multiple of 3"):
        make_loader(world_size=3)


def test_one_channel():
    images = make_loader(make_pack(channels=1, labels=False)).next().real
    assert images.shape == (4, 1, 4, 4)
    assert images.is_contiguous(memory_format=torch.channels_last)
