"""Samples of every shape and type, their labels and conditions, on their way from a dataset to a batch."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import TypeAdapter

from ganzoo.components.dataset import Dataset
from ganzoo.components.options import ImageDatasetConfig, ImageSize, VectorDatasetConfig
from ganzoo.components.spec import DatasetInfo, ImageSpec, LabelSpec, UnfitDataError, VectorSpec
from ganzoo.data.loader import Loader
from ganzoo.data.packed_dataset import PackedDataset, pack_dataset, real_images
from ganzoo.data.prepare import examine_dataset
from ganzoo.errors import DataError


class Given(Dataset):
    """Gives what it was given."""

    def __init__(self, config: Any, source: list[Any], labels: LabelSpec | None = None) -> None:
        super().__init__(config)
        self.source, self._labels = source, labels

    def fingerprint(self):
        return ()

    def open(self):
        return self.source

    def labels(self):
        return self._labels


class PairsConfig(ImageDatasetConfig):
    image_size: ImageSize = 2

    def condition_spec(self):
        return ImageSpec(1, 2, 2)


def pack(source: list[Any], tmp_path: Path, *, labels: LabelSpec | None = None, **options: Any) -> PackedDataset:
    config = ImageDatasetConfig(**{"image_size": 4, "channels": 1, **options})
    return pack_dataset(Given(config, source, labels), cache=tmp_path)


def batch(packed: PackedDataset, **options: Any) -> Any:
    return Loader(packed, batch_size=len(packed), seed=0, device="cpu", **options).next()


@pytest.mark.parametrize(
    ("dtype", "low", "high"), [(np.uint8, 0, 255), (np.uint16, 0, 65535), (np.float32, -1, 1), (np.float64, -1, 1)]
)
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 13])
def test_arrays_keep_their_type_and_reach_from_minus_one_to_one(tmp_path, dtype, low, high, channels):
    array = np.full((4, 4, channels), low, dtype=dtype)
    array[:, :, -1] = high
    packed = pack([(array, None)], tmp_path, channels=channels)
    assert packed.images.dtype == (np.float32 if dtype == np.float64 else dtype)
    assert packed.images.shape == (1, 4, 4, channels)
    assert np.array_equal(packed.images[0], array)
    real = batch(packed).real
    assert real.shape == (1, channels, 4, 4)
    assert real.is_contiguous(memory_format=torch.channels_last)
    assert real[0, -1].eq(1).all()
    assert real[0, :-1].eq(-1).all()
    torch.testing.assert_close(real_images(packed, torch.arange(1)), real)


def test_all_values_of_sixteen_bits_are_told_apart(tmp_path):
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    real = batch(pack([(values, None)], tmp_path, image_size=256)).real.flatten()
    assert (real[1:] > real[:-1]).all()
    torch.testing.assert_close(real, torch.linspace(-1, 1, 65536), atol=1e-6, rtol=0)


def test_rectangles(tmp_path):
    ramp = Image.fromarray(np.arange(60, dtype=np.uint8).reshape(6, 10))
    packed = pack([(ramp, None)], tmp_path, image_size=(2, 4))
    assert packed.images.shape == (1, 2, 4, 1)
    assert packed.info.samples == ImageSpec(1, 2, 4)
    whole = np.asarray(ramp.crop((0, 0, 10, 5)).resize((4, 2), Image.Resampling.BILINEAR))
    assert np.array_equal(packed.images[0, :, :, 0], whole)  # the largest crop with twice its height as width: 10×5
    assert np.array_equal(
        pack([(ramp, None)], tmp_path / "crop", image_size=(2, 4), crop=(2, 4)).images[0, :, :, 0],
        np.asarray(ramp)[2:4, 3:7],
    )


@pytest.mark.parametrize("resize", ["bilinear", "bicubic", "lanczos", "box", "nearest"])
def test_each_channel_is_resized_as_by_pil(tmp_path, resize):
    array = np.random.default_rng(0).integers(0, 65536, (9, 9, 5)).astype(np.uint16)
    packed = pack([(array, None)], tmp_path, channels=5, resize=resize)
    for channel in range(5):
        expected = Image.fromarray(array[:, :, channel].astype(np.float32)).resize(
            (4, 4), getattr(Image.Resampling, resize.upper())
        )
        expected = np.rint(np.asarray(expected)).clip(0, 65535)
        assert np.array_equal(packed.images[0, :, :, channel], expected)


def test_an_array_of_bytes_is_treated_as_its_image(tmp_path):
    array = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    for channels in (1, 3):
        by_array = pack([(array, None)], tmp_path / "array", channels=channels)
        by_image = pack([(Image.fromarray(array), None)], tmp_path / "image", channels=channels)
        assert np.array_equal(by_array.images, by_image.images)


def test_an_array_of_sixteen_bits_becomes_gray_by_its_luminance(tmp_path):
    colors = np.zeros((2, 2, 3), dtype=np.uint16)
    colors[0, 0, 0] = colors[0, 1, 1] = colors[1, 0, 2] = colors[1, 1] = 10_000
    packed = pack([(colors, None)], tmp_path, image_size=2)
    assert packed.images[0, :, :, 0].tolist() == [[2990, 5870], [1140, 10_000]]  # ITU-R BT.601, as PIL's "L"


def test_values_beyond_the_range_are_clipped_before_the_resize(tmp_path):
    array = np.tile(np.float32([[0, 10], [0, 0]]), (2, 2))
    packed = pack([(array, None)], tmp_path, image_size=2, resize="box", value_range=(0.0, 1.0))
    assert packed.images[0, :, :, 0].tolist() == [[-0.5, -0.5], [-0.5, -0.5]]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("text", "is a str; a dataset of images must give PIL images, or numpy arrays"),
        (np.zeros((4, 4), np.int32), "is an array of int32; a dataset of images must give"),
        (torch.zeros(1, 4, 4), "is a Tensor; a dataset of images must give"),
        (np.zeros((3, 4, 4), np.uint8), r"is an array of shape \(3, 4, 4\), and must be \(H, W, 1\) or \(H, W\)"),
        (np.full((4, 4), 2.0), r"is an array of floats from 2 to 2, which must lie in \[−1, 1\]"),
        (np.full((4, 4), np.nan), "is an array of floats from nan to nan"),
        (np.zeros((4, 4), np.uint16), "is stored as uint16, and samples before it as uint8"),
    ],
)
def test_what_a_dataset_may_not_give_is_told(tmp_path, given, message):
    with pytest.raises(DataError, match=f"1 of 2 images.*\n  sample 1: {message}"):
        pack([(np.zeros((4, 4), np.uint8), None), (given, None)], tmp_path)


def test_vectors(tmp_path):
    vectors = np.random.default_rng(0).normal(size=(6, 3)) * 10
    labels = LabelSpec("continuous", ("age", "height"))
    source = [(vector, [index, 0.5]) for index, vector in enumerate(vectors)]
    packed = pack_dataset(Given(VectorDatasetConfig(size=3), source, labels), cache=tmp_path)
    assert packed.info == DatasetInfo(VectorSpec(3), labels)
    drawn = batch(packed)
    assert drawn.real.dtype == drawn.labels.dtype == torch.float32
    torch.testing.assert_close(drawn.real, torch.tensor(vectors, dtype=torch.float32)[drawn.labels[:, 0].long()])
    assert [packed.example_labels(count)[:, 0].tolist() for count in (2, 3)] == [[0, 3], [0, 3, 1]]
    with pytest.raises(UnfitDataError, match="needs images, and the samples are vectors of 3 numbers"):
        _ = packed.info.image
    with pytest.raises(UnfitDataError, match="needs classes, and the labels are 2 continuous values"):
        _ = packed.info.num_classes
    found = examine_dataset(Given(VectorDatasetConfig(size=3), [*source, (vectors[0], [0, 0])], labels))
    assert (found.usable, found.modes, found.duplicates) == (
        7,
        {"float64, 3 numbers": 7},
        [["sample 0", "sample 6"]],
    )
    with pytest.raises(DataError, match=r"sample 0: is of shape \(3,\); a dataset of vectors must give arrays \(2,\)"):
        pack_dataset(Given(VectorDatasetConfig(size=2), source, labels), cache=tmp_path)


def test_attributes(tmp_path):
    labels = LabelSpec("attributes", ("round", "red"))
    gray = np.zeros((4, 4), np.uint8)
    packed = pack([(gray, [0, 1]), (gray, np.array([1, 1]))], tmp_path, labels=labels)
    assert packed.labels.dtype == np.float32
    assert packed.labels.tolist() == [[0, 1], [1, 1]]
    with pytest.raises(DataError, match="whose attributes must be 0 or 1"):
        pack([(gray, [0, 2])], tmp_path / "wrong", labels=labels)
    told = r"has the label \[0\]; it must be a list of 2 numbers, for 2 attributes \(round, red\)"
    with pytest.raises(DataError, match=rf"(?s){told}.*No dataset may give these: .*: fix Given in {__file__}"):
        pack([(gray, [0])], tmp_path / "few", labels=labels)


@pytest.mark.parametrize("label", [0.5, None])
def test_one_value_is_a_list_of_one(tmp_path, label):
    gray, labels = np.zeros((4, 4), np.uint8), LabelSpec("continuous", ("angle",))
    assert pack([(gray, [0.5])], tmp_path, labels=labels).labels.tolist() == [[0.5]]
    told = rf"has the label {label}; it must be a list of one number, for 1 continuous value \(angle\)"
    with pytest.raises(DataError, match=rf"(?s){told}.*No dataset may give these"):
        pack([(gray, label)], tmp_path / "wrong", labels=labels)
    with pytest.raises(DataError, match=r"(?s)has the label \[nan\], which must be finite.*Repair or remove them"):
        pack([(gray, [float("nan")])], tmp_path / "nan", labels=labels)


def test_classes_and_limit_choose_of_every_dataset(tmp_path):
    source = [(np.full((4, 4), index, np.uint8), index % 4) for index in range(12)]
    labels = LabelSpec.classes(("cat", "dog", "owl", "10"))

    def chosen(**options: Any) -> tuple[list[int], list[int], tuple[str, ...]]:
        packed = pack(source, tmp_path, labels=labels, **options)
        return packed.images[:, 0, 0, 0].tolist(), packed.labels.tolist(), packed.info.class_names

    assert chosen(classes=("owl", 0)) == ([0, 2, 4, 6, 8, 10], [1, 0, 1, 0, 1, 0], ("owl", "cat"))
    assert chosen(limit=4) == ([0, 3, 6, 9], [0, 3, 2, 1], ("cat", "dog", "owl", "10"))
    assert chosen(classes=("10",), limit=2) == ([3, 7], [0, 0], ("10",))
    labels = LabelSpec.classes(("1", "2", "3", "10"))  # folders
    assert chosen(classes=(1, "3"))[2] == ("1", "3")
    assert chosen(classes=(10,))[2] == ("10",)
    with pytest.raises(DataError, match=r'there is no "0" among the 4 classes.*: give names \(1, 2, 3, 10\)$'):
        chosen(classes=(0,))
    labels = LabelSpec.classes(("cat", "dog", "owl", "10"))
    with pytest.raises(DataError, match=r'dataset\.classes: there is no "cow" among the 4 classes'):
        chosen(classes=("cow",))
    with pytest.raises(DataError, match=r'dataset\.classes: names "owl" twice'):
        chosen(classes=("owl", 2))
    with pytest.raises(DataError, match="has no labels as it is set up: leave it out"):
        pack(source, tmp_path, classes=("owl",))


def test_classes_are_chosen_though_a_sample_cannot_be_read(tmp_path):
    class Source(list):
        def __getitem__(self, index: int) -> Any:
            if index == 3:
                raise OSError("image file is truncated")
            return super().__getitem__(index)

    source = Source((np.full((4, 4), index, np.uint8), index % 2) for index in range(6))
    labels = LabelSpec.classes(("cat", "dog"))
    packed = pack(source, tmp_path, labels=labels, classes=("dog",), max_bad_fraction=0.5)
    assert packed.images[:, 0, 0, 0].tolist() == [1, 5]
    assert packed.skipped == ("sample 3: image file is truncated",)


def pairs(tmp_path: Path, count: int, conditions: int | None = None) -> PackedDataset:
    source = [np.array([[i, 0], [i, 0]], np.uint8) for i in range(count)]
    given = [(image, None, 255 - image) for image in source] if conditions is None else [(i, None) for i in source]
    dataset = Given(PairsConfig(channels=1), given)
    if conditions is not None:
        dataset.open_conditions = lambda: [(np.full((2, 2), i, np.uint8), None) for i in range(conditions)]
    return pack_dataset(dataset, cache=tmp_path)


@pytest.mark.parametrize("placement", ["host", "device"])
def test_a_condition_comes_and_is_mirrored_with_its_sample(tmp_path, placement):
    packed = pairs(tmp_path, 50)
    drawn = batch(packed, horizontal_flip=True, placement=placement)
    assert packed.info.condition == ImageSpec(1, 2, 2)
    torch.testing.assert_close(drawn.condition, -drawn.real)
    right = drawn.real[:, 0, 0, 1] > drawn.real[:, 0, 0, 0]
    assert 10 < right.sum() < 40


def test_unpaired_conditions_have_an_order_of_their_own(tmp_path):
    packed = pairs(tmp_path, 12, 5)
    assert len(packed.conditions) == 5

    def loader(batch_size: int = 6, **options: Any) -> Loader:
        return Loader(packed, batch_size=batch_size, seed=3, device="cpu", **options)

    def conditions(each: Any) -> list[int]:
        return ((each.condition[:, 0, 0, 0] + 1) * 127.5).round().int().tolist()

    whole = loader()
    drawn = [whole.next() for _ in range(10)]
    stream = [*chain.from_iterable(map(conditions, drawn))]
    assert all(sorted(stream[start : start + 5]) == [0, 1, 2, 3, 4] for start in range(0, 60, 5))
    small = loader(4)
    assert [*chain.from_iterable(conditions(small.next()) for _ in range(15))] == stream
    resumed = loader()
    resumed.seek(18)
    assert torch.equal(resumed.next().condition, drawn[3].condition)
    ranks = [loader(rank=rank, world_size=2).next() for rank in range(2)]
    assert [*chain.from_iterable(map(conditions, ranks))] == stream[:6]
    assert torch.equal(whole.drawn_at(18).condition, drawn[3].condition)
    assert packed.is_intact()


def test_a_missing_condition_is_told(tmp_path):
    gray = np.zeros((2, 2), np.uint8)
    with pytest.raises(DataError, match=r"comes with 0 conditions; the dataset must give \(sample, label, condition\)"):
        pack_dataset(Given(PairsConfig(channels=1), [(gray, None)]), cache=tmp_path)


@pytest.mark.parametrize("labels", [None, LabelSpec.classes("ab"), LabelSpec("attributes", ("x",))])
@pytest.mark.parametrize("samples", [ImageSpec(13, 4, 8), VectorSpec(2)])
def test_info_goes_through_json(samples, labels):
    info = DatasetInfo(samples, labels, ImageSpec(1, 2, 3))
    read = TypeAdapter(DatasetInfo).validate_python
    assert read(info.to_dict()) == info
    with pytest.raises(ValueError, match="extra"):
        read({**info.to_dict(), "extra": 1})
