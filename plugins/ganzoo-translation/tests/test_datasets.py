"""Pairs and domains of the images of other datasets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dataset_files import write_lsun
from ganzoo_translation.datasets import changed
from PIL import Image

from ganzoo.data.packed_dataset import PackedDataset, pack_dataset
from ganzoo.errors import DataError, RecipeError
from ganzoo.recipe.load import load_recipe
from ganzoo.registry.plugin_manager import plugin_manager

FLAT = """
import numpy as np

from ganzoo.plugin import Dataset, ImageDatasetConfig, hookimpl


class Flat(Dataset):
    Config = ImageDatasetConfig

    def fingerprint(self):
        return ["flat"]

    def open(self):
        return [(np.full((32, 32, 1), GRAY, dtype=np.uint8), None)] * 4


@hookimpl
def register_datasets(register):
    register("flat", Flat)
"""


def tables_of(dataset: dict[str, Any]) -> dict[str, Any]:
    return {
        "run": {"name": "any", "steps": 1},
        "dataset": dataset,
        "generator": {"name": "resnet_translator"},
        "discriminator": {"name": "patchgan", "depth": 2},
        "loss": {"name": "least_squares"},
        "trainer": {"name": "cyclegan"},
    }


def pack(dataset: dict[str, Any], cache: Path) -> PackedDataset:
    recipe, manager = load_recipe(tables_of(dataset), plugin_manager())
    return pack_dataset(manager.registries.datasets[recipe.dataset.name].load()(recipe.dataset), cache=cache)


def test_pairs_are_derived_of_each_image(tmp_path: Path) -> None:
    digits = pack({"name": "derived_pairs", "condition": ["invert"], "limit": 30}, tmp_path)
    assert digits.paired
    assert digits.images.shape == digits.conditions.shape == (30, 32, 32, 1)
    assert np.array_equal(digits.images.astype(int) + digits.conditions, np.full(digits.images.shape, 255))
    assert digits.info.class_names == tuple("0123456789")


def test_unpaired_halves_share_no_image(tmp_path: Path) -> None:
    whole = pack({"name": "derived_pairs", "condition": ["invert"]}, tmp_path)
    halves = pack({"name": "derived_pairs", "condition": ["invert"], "pairing": "unpaired"}, tmp_path)
    assert not halves.paired
    assert (len(halves), len(halves.conditions)) == (899, 898)
    assert np.array_equal(halves.images, whole.images[::2])
    assert np.array_equal(halves.conditions, whole.conditions[1::2])
    assert np.array_equal(halves.labels, whole.labels[::2])


@pytest.mark.parametrize("pairing", ["aligned", "unpaired"])
def test_pairs_are_derived_of_a_database(tmp_path: Path, pairing: str) -> None:
    """Which opens once in a process."""
    pytest.importorskip("lmdb")
    write_lsun(tmp_path, "bedroom_val", (10, 20, 30, 40))
    source = {"name": "lsun", "root": str(tmp_path), "scenes": ["bedroom_val"]}
    options = {"name": "derived_pairs", "source": source, "condition": ["invert"], "pairing": pairing}
    packed = pack({**options, "channels": 1, "image_size": 16}, tmp_path / "cache")
    step = 2 if pairing == "unpaired" else 1
    assert packed.images[:, 0, 0, 0].tolist() == [10, 20, 30, 40][::step]
    assert packed.conditions[:, 0, 0, 0].tolist() == [245, 235, 225, 215][step - 1 :: step]


def test_classes_are_picked_of_the_dataset_around(tmp_path: Path) -> None:
    options = {"name": "derived_pairs", "classes": ["3", "7"], "pairing": "unpaired"}
    assert pack(options, tmp_path).info.class_names == ("3", "7")
    aligned = pack({"name": "derived_pairs", "classes": ["3"]}, tmp_path)
    assert len(aligned) == len(aligned.conditions) == 183
    unpaired = pack({"name": "derived_pairs", "condition": ["invert"], **options}, tmp_path)
    whole = pack({"name": "derived_pairs", "condition": ["invert"]}, tmp_path)
    others = np.isin(whole.labels[1::2], (3, 7))
    assert others.sum() == 184
    assert np.array_equal(unpaired.conditions, whole.conditions[1::2][others])


@pytest.mark.parametrize("options", [{"crop": 8}, {"crop": 16, "resize_first": 24}, {"crop": [6, 8]}, {}])
def test_conditions_are_cropped_as_their_images(tmp_path: Path, options: dict[str, Any]) -> None:
    options = {"image_size": 32, "limit": 5, **options}
    packed = pack({"name": "derived_pairs", "condition": ["invert"], **options}, tmp_path)
    assert np.abs(255 - packed.images.astype(int) - packed.conditions).mean() < 8


def test_a_condition_is_named_by_its_own_image(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for name in "abcd":
        Image.new("L", (8, 8)).save(folder / f"{name}.png")
    source = {"name": "image_folder", "root": str(folder)}
    (folder / "d.png").write_bytes(b"no image")
    for dataset in (
        {"name": "derived_pairs", "source": source, "pairing": "unpaired"},
        {"name": "two_domains", "conditions": source},
    ):
        with pytest.raises(DataError, match=r"images/d\.png: not an image in a format that can be read"):
            pack(dataset, tmp_path)


def test_bands_of_the_dataset_within(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    np.save(folder / "a.npy", np.full((32, 32, 3), (10, 20, 30), np.uint8))
    source = {"name": "image_folder", "root": str(folder), "bands": [2]}
    with pytest.raises(RecipeError, match=r"bands names 1 channels: set channels = 1"):
        pack({"name": "derived_pairs", "channels": 1, "source": source}, tmp_path)
    packed = pack({"name": "derived_pairs", "channels": 1, "source": {**source, "channels": 1}}, tmp_path)
    assert (packed.images == 30).all()


def test_two_datasets_are_two_domains(tmp_path: Path) -> None:
    source = {"name": "synthetic", "count": 12}
    both = pack({"name": "two_domains", "source": source, "image_size": 16, "limit": 10}, tmp_path)
    digits = pack({"name": "derived_pairs", "image_size": 16, "limit": 10}, tmp_path)
    assert (len(both), both.paired) == (10, False)
    assert np.array_equal(both.conditions, digits.images)


@pytest.mark.parametrize(
    ("dataset", "told"),
    [
        ({"source": {"name": "derived_pairs"}}, 'dataset.source.name: there is no source "derived_pairs"'),
        ({"source": {"name": "image_pairs"}}, 'source is "image_pairs": take a dataset of single images'),
        ({"source": {"name": "digits", "image_size": 8}}, "source.image_size has no effect: set image_size of the"),
        ({"source": {"name": "digits", "kount": 8}}, "dataset.source.kount: there is no such key"),
        ({"channels": 2}, "channels is 2: take 1 for gray images or 3 for RGB"),
        ({"condition": ["outlines"]}, "dataset.condition.0"),
    ],
)
def test_what_does_not_go_is_told(dataset: dict[str, Any], told: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(tables_of({"name": "derived_pairs", **dataset}), plugin_manager())
    assert told in str(caught.value)


def halves_of(images: np.ndarray) -> list[float]:
    """Means of the inner parts of the left and the right half of the first image, from 0 to 1."""
    low, high = {"uint8": (0, 255), "uint16": (0, 65535), "float32": (-1, 1)}[images.dtype.name]
    means = [images[0, 8:24, columns].astype(float).mean() for columns in (slice(4, 12), slice(20, 28))]
    return [(mean - low) / (high - low) for mean in means]


def of_file(folder: Path, cache: Path, **options: Any) -> tuple[list[float], list[float]]:
    """Both halves' means, of the image in a folder and of its condition, a blurred copy."""
    source = {"name": "image_folder", "root": str(folder)}
    packed = pack({"name": "derived_pairs", "source": source, "condition": ["blur"], **options}, cache)
    assert packed.conditions is not None
    return halves_of(packed.images), halves_of(packed.conditions)


PALE, DARK = 40_000, 10_000


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("gray16", {}),
        ("gray16", {"depth": 16}),
        ("gray16", {"value_range": [0, 50_000]}),
        ("transparent", {"channels": 3}),
        ("transparent", {"channels": 3, "background": "black"}),
        ("uint16", {}),
        ("floats", {}),
        ("floats", {"value_range": [-1.0, 3.0]}),
    ],
)
def test_conditions_have_the_values_of_their_images(tmp_path: Path, kind: str, options: dict[str, Any]) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    left = np.arange(64) < 32
    deep = np.broadcast_to(np.where(left, PALE, DARK), (64, 64)).astype(np.uint16)
    if kind == "gray16":
        Image.fromarray(deep).save(folder / "a.png")
    elif kind == "transparent":
        clear = np.zeros((64, 64, 4), np.uint8)
        clear[:, 32:] = (200, 200, 200, 255)
        Image.fromarray(clear).save(folder / "a.png")
    else:
        values = deep[:, :, None] if kind == "uint16" else (deep / 32767.5 - 1).astype(np.float32)
        np.save(folder / "a.npy", values)
    image, condition = of_file(folder, tmp_path / "cache", **options)
    assert abs(image[0] - image[1]) > 0.1
    assert condition == pytest.approx(image, abs=0.03)


def test_an_edited_dataset_within_is_packed_again(tmp_path: Path) -> None:
    """Its name, options and fingerprint stay as they are: only the code of `open` changes."""
    file = tmp_path / "flat.py"

    def packed(gray: int) -> PackedDataset:
        file.write_text(FLAT.replace("GRAY", str(gray)))
        flat = {"name": "flat", "image_size": 32, "channels": 1}
        tables = tables_of({"name": "derived_pairs", "source": flat, "condition": ["invert"]})
        recipe, manager = load_recipe(tables | {"plugins": {"files": [str(file)]}}, plugin_manager())
        return pack_dataset(manager.registries.datasets[recipe.dataset.name].load()(recipe.dataset), cache=tmp_path)

    first, second = packed(80), packed(200)
    assert (first.images.max(), first.conditions.max()) == (80, 175)
    assert (second.images.max(), second.conditions.max()) == (200, 55)
    assert packed(80).path == first.path


def test_the_options_of_reading_reach_the_dataset_within(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    np.save(folder / "a.npy", np.where(np.arange(64) < 32, 900, 100)[None].repeat(64, 0).astype(np.int32)[:, :, None])
    image, condition = of_file(folder, tmp_path / "cache", value_range=[0, 1000])
    assert image == pytest.approx([0.9, 0.1], abs=0.01)
    assert condition == pytest.approx(image, abs=0.06)


def test_fast_decoding_is_refused() -> None:
    with pytest.raises(RecipeError, match="fast_decode has no effect on the images of other datasets"):
        load_recipe(tables_of({"name": "derived_pairs", "fast_decode": True}), plugin_manager())


def test_the_range_of_derived_pairs_is_given() -> None:
    with pytest.raises(RecipeError, match="set it to \\[low, high\\]"):
        load_recipe(tables_of({"name": "derived_pairs", "value_range": "auto"}), plugin_manager())


def square() -> Image.Image:
    """A white square of 12 pixels in the upper right part of a black picture of 32."""
    picture = np.zeros((32, 32), np.uint8)
    picture[4:16, 18:30] = 255
    return Image.fromarray(picture)


def test_changes_have_the_stated_effect() -> None:
    before = np.asarray(square()).astype(int)
    after = {
        change: np.asarray(changed(square(), change)).astype(int)
        for change in ("outline", "blur", "half", "gray", "invert", "rotate")
    }
    assert np.array_equal(after["invert"], 255 - before)
    assert np.array_equal(after["rotate"], np.rot90(before))
    assert np.array_equal(after["gray"], before)
    inside, edge = after["outline"][8:12, 22:26], after["outline"][4:16, 18]
    assert (inside.max(), edge.min(), after["outline"].max()) == (0, 255, 255)
    assert 0 < after["blur"].max() < 255
    assert np.array_equal(after["half"][:, :16], before[:, :16])
    right = after["half"][:, 16:]
    assert right.max() - right.min() < 128
    colored = Image.new("RGB", (4, 4), (200, 30, 40))
    assert changed(colored, "gray").mode == "L"
