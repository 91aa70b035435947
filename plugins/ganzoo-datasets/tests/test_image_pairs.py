"""Pairs of images: aligned in two folders, side by side in one picture, and unpaired."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from ganzoo_datasets import files
from ganzoo_datasets.configs import ImagePairsConfig
from ganzoo_datasets.image_pairs import ImagePairs
from PIL import ExifTags, Image

from ganzoo.components.spec import ImageSpec
from ganzoo.data.packed_dataset import PackedDataset, pack_dataset
from ganzoo.errors import DataError


def pack(root: Path, **options: Any) -> PackedDataset:
    config = ImagePairsConfig(root=str(root), **{"image_size": 4, "channels": 1, **options})
    return pack_dataset(ImagePairs(config), cache=root.parent / "cache")


def grays(array: Any) -> list[int]:
    return array[:, 0, 0, 0].tolist()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for domain, suffix, offset in (("A", "png", 0), ("B", "bmp", 100)):
        (tmp_path / "root" / domain / "x").mkdir(parents=True)
        for index in range(3):
            Image.new("RGB", (6, 6), (index + offset,) * 3).save(
                tmp_path / "root" / domain / ("x" if index else "") / f"{index}.{suffix}"
            )
    return tmp_path / "root"


def test_folders_of_equal_names_sizes_and_times_are_told_apart(tmp_path: Path):
    found = []
    for part, gray in (("train", 10), ("test", 200)):
        for domain in "AB":
            file = tmp_path / part / domain / "0.pgm"
            file.parent.mkdir(parents=True)
            Image.new("L", (4, 4), gray).save(file)
            os.utime(file, ns=(5, 5))
        found.append(grays(pack(tmp_path / part).images))
    assert found == [[10], [200]]


def test_aligned_folders_are_matched_by_name(root: Path):
    packed = pack(root)
    assert packed.paired
    assert packed.info.condition == packed.info.samples == ImageSpec(1, 4, 4)
    assert (grays(packed.images), grays(packed.conditions)) == ([100, 101, 102], [0, 1, 2])
    reverse = pack(root, direction="BtoA", condition_channels=3)
    assert (grays(reverse.images), grays(reverse.conditions)) == ([0, 1, 2], [100, 101, 102])
    assert reverse.info.condition == ImageSpec(3, 4, 4)
    (root / "A" / "0.png").unlink()
    with pytest.raises(
        DataError, match="images without a counterpart of the same name in the other folder: 1, such as 0"
    ):
        pack(root)


def test_unpaired_folders_differ_in_length(root: Path):
    (root / "A" / "0.png").unlink()
    packed = pack(root, pairing="unpaired")
    assert not packed.paired
    assert (grays(packed.images), grays(packed.conditions)) == ([100, 101, 102], [1, 2])
    assert pack(root, pairing="unpaired").path == packed.path
    (root / "A" / "x" / "1.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"A/x/1\.png"):
        pack(root, pairing="unpaired")
    assert grays(pack(root, pairing="unpaired", max_bad_fraction=0.5).conditions) == [2]
    with pytest.raises(DataError, match=r"1 of 2 images .* a share of 0\.5 \(0\.3 are allowed\)"):
        pack(root, pairing="unpaired", max_bad_fraction=0.3)  # of the conditions, also where a pack is there


@pytest.mark.parametrize(("direction", "sample", "condition"), [("AtoB", 200, 10), ("BtoA", 10, 200)])
def test_side_by_side(tmp_path: Path, direction, sample, condition):
    picture = Image.new("L", (9, 4), 10)
    picture.paste(200, (5, 0, 9, 4))
    (tmp_path / "root").mkdir()
    picture.save(tmp_path / "root" / "0.png")
    packed = pack(tmp_path / "root", pairing="side_by_side", direction=direction)
    assert (packed.images == sample).all()
    assert (packed.conditions == condition).all()


def test_halves_of_a_picture_that_its_exif_turns(tmp_path: Path):
    stored = Image.new("L", (8, 16), 10)
    stored.paste(200, (0, 0, 8, 8))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 8  # shown turned to the left: the upper half is the left one
    (tmp_path / "root").mkdir()
    stored.save(tmp_path / "root" / "0.png", exif=exif)
    packed = pack(tmp_path / "root", pairing="side_by_side")
    assert (packed.images == 10).all()
    assert (packed.conditions == 200).all()


def test_a_picture_without_two_halves(tmp_path: Path):
    (tmp_path / "root").mkdir()
    Image.new("L", (1, 4)).save(tmp_path / "root" / "0.png")
    with pytest.raises(DataError, match=r"0\.png.*one pixel wide, and must hold two images"):
        pack(tmp_path / "root", pairing="side_by_side")


def test_halves_are_read_up_to_max_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "root").mkdir()
    Image.new("L", (4, 2)).save(tmp_path / "root" / "0.png")
    monkeypatch.setattr(files, "_LARGEST_FILE", 8)
    assert len(pack(tmp_path / "root", pairing="side_by_side", max_pixels=1000)) == 1


def test_two_files_of_one_name_have_no_single_counterpart(root: Path):
    Image.new("RGB", (6, 6)).save(root / "A" / "0.gif")
    with pytest.raises(DataError, match=r"A: 0\.gif and 0\.png have one name, .*: remove one"):
        pack(root)
    assert len(pack(root, pairing="unpaired").conditions) == 4


def test_a_broken_link_is_one_unreadable_image(root: Path):
    (root / "A" / "0.png").unlink()
    (root / "A" / "0.png").symlink_to("nowhere")
    with pytest.raises(DataError, match=r"A/0\.png: .*No such file"):
        pack(root)
    packed = pack(root, max_bad_fraction=0.5)
    assert (grays(packed.images), grays(packed.conditions)) == ([101, 102], [1, 2])


@pytest.mark.parametrize("pairing", ["aligned", "unpaired"])
def test_what_is_wrong_with_a_condition_is_told_of_its_own_file(root: Path, pairing: str):
    def problem(**options: Any) -> str:
        with pytest.raises(DataError) as caught:
            pack(root, pairing=pairing, **options)
        return str(caught.value).splitlines()[1].strip()

    a, b = root / "A" / "0.png", root / "B" / "0.bmp"
    large = f"{b}: its condition" if pairing == "aligned" else f"{a}:"
    Image.new("L", (3, 3)).save(a)
    assert problem(crop=4) == f"{large} 3×3 pixels is smaller than the crop of 4".replace("condition 3", "condition: 3")
    a.write_bytes(b"no image")
    told = f"{b}: its condition {a}" if pairing == "aligned" else str(a)
    assert problem() == f"{told}: not an image in a format that can be read"
    Image.new("L", (200, 200)).save(a)
    assert problem(max_pixels=100).startswith(f"{told}: suspiciously large: ")
    Image.new("L", (6, 6)).save(a)
    b.write_bytes(b"no image")
    assert problem() == f"{b}: not an image in a format that can be read"


def test_a_missing_folder(tmp_path: Path):
    with pytest.raises(DataError, match=r"A is not a folder: set dataset.root .*dataset.folders"):
        pack(tmp_path)
