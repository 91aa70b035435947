"""Data that mean something else than they are read as: told by a run, `data prepare` and `data doctor` alike."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ganzoo_datasets import configs as dataset_configs
from ganzoo_datasets.configs import ImageFolderConfig, ImagePairsConfig
from ganzoo_datasets.image_pairs import ImagePairs
from image_folders import folder, pack, picture, put
from PIL import Image, ImageDraw
from pydantic import ValidationError

from ganzoo.builtin import configs
from ganzoo.components.dataset import Dataset
from ganzoo.components.options import DatasetConfig, ImageDatasetConfig, VectorDatasetConfig
from ganzoo.components.spec import LabelSpec
from ganzoo.data.packed_dataset import _made_from, pack_dataset
from ganzoo.data.prepare import examine_dataset
from ganzoo.data.transforms import to_stored
from ganzoo.errors import DataError

RNG = np.random.default_rng(0)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    return folder


def ramp(low: float, high: float, dtype: Any) -> np.ndarray:
    return np.linspace(low, high, 64).reshape(8, 8).astype(dtype)


# The range of the values


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize(
    ("low", "high", "dtype"),
    [(0, 4095, np.uint16), (0, 255, np.float32), (-1024, 3071, np.int32), (0, 1, np.uint8), (-300, 300, np.float32)],
)
def test_values_of_a_range_reach_from_end_to_end(root: Path, low: int, high: int, dtype: Any, depth: int):
    """12 bits in 16, floats of 0 to 255, Hounsfield units, masks of 0 and 1."""
    for index in range(3):
        Image.fromarray(ramp(low, high, dtype)).save(root / f"{index}.{'png' if dtype == np.uint8 else 'tif'}")
    for value_range in ((low, high), "auto"):
        packed = pack(root, value_range=value_range, depth=depth)
        ends = (0, 255) if depth == 8 else (-1, 1)
        assert packed.images.dtype == (np.uint8 if depth == 8 else np.float32)
        assert (packed.images.min(), packed.images.max()) == ends
        expected = np.interp(ramp(low, high, dtype), (low, high), ends)
        assert np.abs(packed.images[0, :, :, 0] - expected).max() <= (0.5 if depth == 8 else 1e-6)
        told = (f'dataset.value_range = "auto" is [{low:g}, {high:g}]',) if value_range == "auto" else ()
        assert packed.findings == told


@pytest.mark.parametrize("dtype", [np.int16, np.int64, np.float16, np.float64, bool])
def test_arrays_of_other_numbers_take_a_range(root: Path, dtype: Any):
    array = ramp(0, 1, dtype) if dtype is bool else ramp(-1000, 1000, dtype)
    np.save(root / "a.npy", array)
    packed = pack(root, value_range="auto")
    assert packed.images.dtype == np.float32
    assert (packed.images.min(), packed.images.max()) == (-1, 1)
    with pytest.raises(DataError, match=r"dataset\.value_range = \[low, high\]"):
        pack(root)


@pytest.mark.parametrize(("depth", "share"), [(8, "6.6%"), (16, "6.2%")])
def test_a_small_part_of_the_range_is_told(root: Path, depth: int, share: str):
    Image.fromarray(ramp(0, 4095, np.uint16)).save(root / "a.png")
    (finding,) = pack(root, depth=depth).findings
    assert finding.startswith(f"the values of the images use {share} of their range, around 3% of it")
    assert 'set dataset.value_range = [low, high] to what the values can be, or "auto"' in finding
    assert pack(root, depth=depth, value_range=(0, 4095)).findings == ()
    (finding,) = pack(root, depth=depth, value_range=(0, 65535)).findings
    assert "of dataset.value_range = [0.0, 65535.0], around 3% of it: set it to" in finding


@pytest.mark.parametrize("high", [65535, 20000])
def test_a_whole_range_is_not_told(root: Path, high: int):
    Image.fromarray(ramp(0, high, np.uint16)).save(root / "a.png")
    assert pack(root).findings == ()


def test_a_few_bright_pixels_do_not_hide_that_the_rest_is_dark(root: Path):
    for index in range(20):
        array = ramp(0, 4095, np.uint16)
        array[0, 0] = 65535 if index == 7 else 0
        Image.fromarray(array).save(root / f"{index:02d}.png")
    assert "use 6.6% of their range" in pack(root).findings[0]


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize(
    ("array", "ends"), [(ramp(0, 255, np.float32), "0 to 255"), (ramp(-9, 9, np.int32), "-9 to 9")]
)
def test_values_outside_are_refused_with_the_cure(root: Path, array: np.ndarray, ends: str, depth: int):
    Image.fromarray(array).save(root / "a.tif")
    with pytest.raises(DataError, match=rf'run from {ends}.*set dataset\.value_range = \[low, high\].*"auto"'):
        pack_dataset(folder(root, depth=depth), cache=root.parent)


def test_floats_of_zero_to_one_in_sixteen_bits(root: Path):
    Image.fromarray(ramp(0, 1, np.float32)).save(root / "a.tif")
    deep = pack(root, depth=16).images
    assert np.array_equal(deep[0, :, :, 0], np.rint(ramp(0, 1, np.float32) * 65535.0))


def test_auto_takes_a_dataset():
    config = ImageFolderConfig(value_range="auto", image_size=8)
    with pytest.raises(ValueError, match=r"takes a whole dataset: set it to \[low, high\]"):
        to_stored(picture(), config, config.sample_spec())


@pytest.mark.parametrize("pairing", ["aligned", "unpaired"])
def test_auto_takes_the_range_of_the_conditions_apart(root: Path, pairing: str):
    for name, high in (("A", 4095), ("B", 255)):
        (root / name).mkdir()
        for index in range(2):
            Image.fromarray(ramp(0, high, np.uint16)).save(root / name / f"{index}.png")
    options = {"pairing": pairing, "image_size": 8, "channels": 1, "resize": "nearest", "value_range": "auto"}
    packed = pack_dataset(ImagePairs(ImagePairsConfig(root=str(root), **options)), cache=root.parent)
    assert (packed.images.max(), packed.conditions.max()) == (255, 255)
    assert packed.findings == (
        'dataset.value_range = "auto" is [0, 255]',
        'dataset.value_range = "auto" is [0, 4095] of the conditions',
    )
    Path(root / "A/1.png").write_bytes(b"x")
    found = examine_dataset(ImagePairs(ImagePairsConfig(root=str(root), **options)))
    assert len(found.unreadable) == 1
    assert f"{root}/A/1.png" in found.unreadable[0]


def test_not_a_number_has_no_place_in_a_range(root: Path):
    array = ramp(0, 9, np.float32)
    array[0, 0] = np.nan
    np.save(root / "a.npy", array)
    Image.fromarray(array).save(root / "b.tif")
    for value_range in ((0, 9), "auto"):
        found = examine_dataset(folder(root, value_range=value_range))
        assert ["nan" in line for line in found.unreadable] == [True, True]


@pytest.mark.parametrize("wrong", [(1, 1), (2, 1), "all", (1, 2, 3), 5, (0, float("inf"))])
def test_a_range_that_is_none_is_one_problem(wrong: Any):
    with pytest.raises(ValidationError) as error:
        ImageFolderConfig(value_range=wrong)
    assert error.value.error_count() == 1


# The ground behind transparent parts


def sprites(root: Path, mode: str) -> None:
    for index in range(3):
        image = Image.new(mode, (8, 8), (255, 0) if mode == "LA" else (255, 255, 255, 0))
        ImageDraw.Draw(image).rectangle((index, 2, index + 3, 6), (255,) * len(image.getbands()))
        image.save(root / f"{index}.png")


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_white_sprites_are_told_and_seen_on_another_ground(root: Path, mode: str, depth: int):
    sprites(root, mode)
    white = pack(root, channels=3, depth=depth)
    assert white.images.min() == white.images.max()
    assert white.findings == (
        "3 of 3 images come out in a single color: look at the files, and at dataset.background for transparent "
        'parts, which become "white"',
    )
    dark = pack(root, channels=3, depth=depth, background="#102030")
    assert dark.findings == ()
    assert dark.images[0, 0, 0].tolist() == [each * (257 if depth == 16 else 1) for each in (16, 32, 48)]
    assert dark.images[0, 4, 1].tolist() == [65535 if depth == 16 else 255] * 3
    assert pack(root, channels=4 if mode == "RGBA" else 2).findings == ()  # they keep the transparency


@pytest.mark.parametrize("value_range", [(50, 100), "auto"])
@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("mode", ["LA", "RGBA", "L", "I;16"])
def test_the_ground_is_not_of_the_range(root: Path, mode: str, depth: int, value_range: Any):
    """The range is that of what can be seen, whether files have alpha or a transparent gray, which is beyond it."""
    ramps = [ramp(50, 100, np.uint16) for _ in range(3)]
    for index, values in enumerate(ramps):
        values[:2] = 200
        if mode in ("L", "I;16"):
            stored = values.astype(np.uint8 if mode == "L" else np.uint16)
            Image.fromarray(stored).save(root / f"{index}.png", transparency=200)
            continue
        bands = Image.fromarray(values.astype(np.uint8)), Image.fromarray(((values < 200) * 255).astype(np.uint8))
        Image.merge(mode, (*[bands[0]] * (len(mode) - 1), bands[1])).save(root / f"{index}.png")
    packed = pack(root, channels=3, depth=depth, background="#336699", value_range=value_range)
    shown = packed.images[0] if depth == 8 else (packed.images[0] + 1) * 127.5
    low, high = (50, 100) if value_range != "auto" else (ramps[0][2:].min(), 100)
    assert np.abs(shown[:2] - (0x33, 0x66, 0x99)).max() < 1
    assert np.abs(shown[2:] - ((ramps[0][2:] - low) * 255.0 / (high - low))[..., None]).max() < 1
    assert any("auto" in finding for finding in packed.findings) == (value_range == "auto")


def test_a_ground_must_be_a_color():
    with pytest.raises(ValidationError, match=r'is "tartan"; must be "white", "black", "gray" or "#rrggbb"'):
        ImageFolderConfig(background="tartan")


def test_images_of_a_single_color_are_told(root: Path):
    for index in range(3):
        Image.new("L", (8, 8), 60 * index).save(root / f"{index}.png")
    (finding,) = pack(root).findings
    assert finding.startswith("3 of 3 images come out in a single color: look at the files")
    assert finding in pack_dataset(folder(root, value_range=(200, 255)), cache=root.parent / "other").findings[0]
    picture().save(root / "a.png")
    picture(1).save(root / "b.png")
    picture(2).save(root / "c.png")
    assert pack(root).findings == ()


# What a plugin gives


class Given(Dataset):
    """Gives what it was given."""

    def __init__(self, config: Any, source: Any, labels: Any = None) -> None:
        super().__init__(config)
        self.source, self._labels = source, labels

    def fingerprint(self):
        return ()

    def open(self):
        return self.source

    def labels(self):
        return self._labels


GRAY = np.zeros((4, 4, 3), np.uint8)
TWO = LabelSpec.classes("ab")


@pytest.mark.parametrize(
    ("source", "labels", "told"),
    [
        ([(np.zeros((4, 4, 4), np.uint8), None)], None, r"shape \(4, 4, 4\), and must be \(H, W, 3\)"),
        ([(np.zeros((3, 4, 4), np.uint8), None)], None, r"must be \(H, W, 3\): the channels come last"),
        ([(np.zeros((4, 4, 3), np.int64), None)], None, r"array of int64; .* set dataset\.value_range = \[low, high\]"),
        ([(np.zeros((4, 4, 3), "U1"), None)], None, "an array of <U1; a dataset of images must give PIL images"),
        ([GRAY], None, r"is a ndarray; the dataset must give \(sample, label\), also where there are no labels"),
        ([Image.new("L", (4, 4))], None, r"is a Image; the dataset must give \(sample, label\)"),
        ([(GRAY,)], None, r"is a tuple of 1; the dataset must give \(sample, label\)"),
        ([(GRAY, None, GRAY)], None, r"comes with 1 conditions; the dataset must give \(sample, label\)"),
        ([(GRAY, None)], TWO, "has the label None, a NoneType; it must be the index of one of the 2 classes"),
        ([(GRAY, 0.7)], TWO, "has the label 0.7, a float; it must be the index of one of the 2 classes"),
        ([(GRAY, "a")], TWO, "has the label 'a', a str; it must be the index"),
    ],
)  # fmt: skip
def test_a_plugin_is_named_and_not_the_files(tmp_path: Path, source: Any, labels: Any, told: str):
    dataset = Given(ImageDatasetConfig(image_size=4), source, labels)
    with pytest.raises(DataError, match=told) as error:
        pack_dataset(dataset, cache=tmp_path)
    by = f'the dataset "given" gives them, not your files: fix Given in {__file__}'
    assert str(error.value).splitlines()[-1] == f"No dataset may give these: {by}."
    assert examine_dataset(dataset).notes == [f"1 of what it gives are no images that a dataset may give: {by}"]


@pytest.mark.parametrize("fingerprint", [None, 3])
def test_what_fingerprint_must_give(tmp_path: Path, fingerprint: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Given, "fingerprint", lambda dataset: fingerprint)
    kind = type(fingerprint).__name__
    with pytest.raises(DataError, match=rf'"given" \({__name__}:Given\): fingerprint gives a {kind}, and must give a'):
        pack_dataset(Given(ImageDatasetConfig(image_size=4), [(GRAY, None)]), cache=tmp_path)


def generator() -> Iterator[Any]:
    yield GRAY, None


@pytest.mark.parametrize("source", [generator(), iter([]), {0: (GRAY, None)}, {1, 2}, None])
def test_what_open_must_give(tmp_path: Path, source: Any):
    dataset = Given(ImageDatasetConfig(image_size=4), source)
    kind = type(source).__name__
    for look in (lambda: pack_dataset(dataset, cache=tmp_path), lambda: examine_dataset(dataset)):
        with pytest.raises(
            DataError,
            match=rf'"given" \({__name__}:Given\): open gives a {kind}, and must give samples',
        ):
            look()


def test_what_labels_must_give(tmp_path: Path):
    with pytest.raises(DataError, match="labels gives a tuple, and must give a LabelSpec or None"):
        pack_dataset(Given(ImageDatasetConfig(image_size=4), [(GRAY, 0)], ("a", "b")), cache=tmp_path)


@pytest.mark.parametrize("vector", [["1", "2"], [1j, 2j], [None, 1]])
def test_vectors_are_not_made_of_other_things(tmp_path: Path, vector: Any):
    with pytest.raises(DataError, match=r"is a list; a dataset of vectors must give arrays \(2,\) of floats"):
        pack_dataset(Given(VectorDatasetConfig(size=2), [(vector, None)]), cache=tmp_path)


def test_floats_between_zero_and_one_are_told(tmp_path: Path):
    arrays = [(RNG.random((8, 8, 3)), None) for _ in range(3)]
    for options, findings in (
        ({}, 1),
        ({"value_range": (0, 1)}, 0),
    ):
        packed = pack_dataset(Given(ImageDatasetConfig(image_size=8, **options), arrays), cache=tmp_path)
        assert len(packed.findings) == findings
    both = [(2 * array - 1, None) for array, _ in arrays]
    assert pack_dataset(Given(ImageDatasetConfig(image_size=8), both), cache=tmp_path / "both").findings == ()


# Large scans and crops


def test_large_scans_are_read_where_they_are_allowed(root: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    picture(0, "L", (60, 50)).save(root / "a.png")
    with pytest.raises(DataError, match=r"suspiciously large: .*dataset\.max_pixels"):
        pack(root)
    assert len(pack(root, max_pixels=3000)) == 1
    assert Image.MAX_IMAGE_PIXELS == 1000
    with pytest.raises(DataError, match="suspiciously large"):
        pack(root, max_pixels=2999)


@pytest.mark.parametrize(
    ("size", "share"), [((150, 100), None), ((160, 90), "44%"), ((90, 160), "44%"), ((100, 100), None)]
)
def test_a_crop_of_more_than_a_third_is_told(root: Path, size: tuple[int, int], share: str | None):
    picture(0, size=size).save(root / "a.png")
    findings = pack(root).findings
    assert [finding.partition(": ")[0] for finding in findings] == (
        [f"the crop leaves out {share} of the pixels of the images"] if share else []
    )
    assert pack(root, crop="none").findings == pack(root, crop=80).findings == ()


@pytest.mark.parametrize(("image_size", "told"), [((96, 32), False), ((32, 96), True)])
def test_the_crop_is_of_the_image_as_it_is_turned(root: Path, image_size: tuple[int, int], told: bool):
    """900×300 pixels in the file, 300×900 by its EXIF orientation."""
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(0, size=(900, 300)).save(root / "a.jpg", exif=exif)
    assert any("the crop leaves out" in finding for finding in pack(root, image_size=image_size).findings) is told


# Where it is told


def test_run_prepare_and_doctor_tell_the_same(
    command: Callable[..., Any], tables: dict[str, Any], recipe_file: Callable[..., Path], root: Path
):
    for index in range(9):
        Image.fromarray(ramp(0, 4095, np.uint16)).save(root / f"{index}.png")
    (root / "a.dcm").write_bytes(b"x")
    tables["dataset"] = {"name": "image_folder", "root": str(root), "image_size": 16}
    tables["run"] |= {"steps": 1}
    doctor = command("data", "doctor", recipe_file(tables))
    notes = [line.removeprefix("note: ") for line in doctor.out.splitlines() if line.startswith("note: ")]
    assert len(notes) == 2
    prepared = command("data", "prepare", recipe_file(tables))
    assert [line.removeprefix("note: ") for line in prepared.err.splitlines() if line.startswith("note: ")] == notes
    for _ in range(2):  # also where the pack is ready
        ran = command("run", recipe_file(tables))
        assert ran.code == 0, ran.err
        warned = [line for line in ran.err.splitlines() if line.startswith("warning: dataset: ")]
        assert warned == [f"warning: dataset: {note}" for note in notes]
    environment = json.loads((Path(ran.out.splitlines()[-1]) / "environment.json").read_text())
    assert environment["findings"] == notes


def test_images_left_out_are_told_by_a_run(
    command: Callable[..., Any], tables: dict[str, Any], recipe_file: Callable[..., Path], root: Path
):
    put(root, *(f"{number}.png" for number in range(9)))
    (root / "bad.png").write_bytes(b"x")
    tables["dataset"] = {"name": "image_folder", "root": str(root), "image_size": 16, "max_bad_fraction": 0.5}
    tables["run"] |= {"steps": 1}
    ran = command("run", recipe_file(tables))
    assert "warning: dataset: images that cannot be used, left out: 1; environment.json lists them" in ran.err


def test_no_batch_size_of_zero_is_advised(
    command: Callable[..., Any], tables: dict[str, Any], recipe_file: Callable[..., Path], root: Path
):
    put(root, "a.png", "b.png")
    tables["dataset"] = {"name": "image_folder", "root": str(root), "image_size": 16}
    tables["trainer"] |= {"discriminator_steps": 5}
    advice = "no trainer.batch_size is small enough for the 5 minibatches of a step: add samples"
    assert advice in command("run", recipe_file(tables)).err
    assert advice in command("data", "doctor", recipe_file(tables)).out


# The pack's key

OTHERS: dict[str, Any] = {
    "classes": ("0",), "limit": 3, "crop": "none", "resize": "lanczos", "resize_first": 40, "background": "black",
    "value_range": "auto", "max_pixels": 10**9, "image_size": (32, 48), "channels": 2, "fast_decode": True,
    "split": "test", "scenes": ("x",), "labels": "folders", "label_kind": "classes", "depth": 16, "frames": "all",
    "bands": (0, 1, 2), "pairing": "unpaired", "folders": ("x", "y"), "direction": "BtoA", "condition_channels": 2,
    "attribute": "Smiling", "attributes": "all", "count": 7, "size": 5, "num_classes": 3, "seed": 3,
}  # fmt: skip
WITHOUT_EFFECT = {
    "name", "root", "placement", "horizontal_flip", "max_bad_fraction", "download", "source", "allow_partial",
}  # fmt: skip


CONFIGS = [
    kind
    for module in (configs, dataset_configs)
    for name, kind in vars(module).items()
    if name.endswith("Config") and issubclass(kind, ImageDatasetConfig) and not name.startswith("_")
]


@pytest.mark.parametrize("kind", [*CONFIGS, ImageDatasetConfig, VectorDatasetConfig])
def test_every_option_that_changes_the_images_is_part_of_the_key(kind: type[DatasetConfig]):
    def key(**options: Any) -> Any:
        return _made_from(Given(kind(name="x", **options), []))

    for option in kind.model_fields.keys() - WITHOUT_EFFECT:
        others = {"image_size": 16} if option == "image_size" else {}
        assert key(**{option: OTHERS[option]}) != key(**others), option
