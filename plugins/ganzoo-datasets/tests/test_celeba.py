"""CelebA in the forms that people have it, and one clear error for each way it goes wrong."""

from __future__ import annotations

import zipfile
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
from dataset_files import celeba_names, gray_jpeg
from ganzoo_datasets import celeba
from ganzoo_datasets.celeba import CelebA
from ganzoo_datasets.configs import CelebAConfig

from ganzoo.components.spec import LabelSpec
from ganzoo.data.packed_dataset import PackedDataset, pack_dataset
from ganzoo.errors import DataError

REAL_COUNT = celeba.COMPLETE
COUNT = 6
NAMES = celeba_names(COUNT)


@pytest.fixture(autouse=True)
def small_and_offline(monkeypatch, tmp_path):
    """CelebA of six faces, and Google Drive out of reach."""

    def no_network(*args, **kwargs):
        raise URLError("Failed to resolve 'drive.google.com'")

    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(celeba, "COMPLETE", COUNT)
    monkeypatch.setattr("ganzoo_datasets.downloads.urlopen", no_network)
    monkeypatch.setattr("ganzoo_datasets.downloads.FIRST_WAIT", 0)


def write_folder(folder: Path, count: int = COUNT) -> Path:
    folder.mkdir(parents=True)
    for number, name in enumerate(NAMES[:count], start=1):
        (folder / name).write_bytes(gray_jpeg(20 * number))
    return folder


def write_zip(path: Path, prefix: str = "img_align_celeba/", extra: dict[str, bytes] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(prefix, b"")
        for number, name in reversed(list(enumerate(NAMES, start=1))):
            archive.writestr(prefix + name, gray_jpeg(20 * number))
        for name, data in (extra or {}).items():
            archive.writestr(name, data)
    return path


def write_lists(folder: Path) -> None:
    splits = [0, 0, 0, 1, 2, 2]
    lines = [f"{name} {split}" for name, split in zip(NAMES, splits, strict=True)]
    (folder / "list_eval_partition.txt").write_text("\n".join(lines) + "\n")
    rows = [f"{name} {' 1' if number % 2 else '-1'} -1" for number, name in enumerate(NAMES)]
    (folder / "list_attr_celeba.txt").write_text("\n".join([str(COUNT), "Smiling Blond_Hair ", *rows]) + "\n")


def write_kaggle_lists(folder: Path) -> None:
    rows = [f"{name},{2 * (number >= 4)}" for number, name in enumerate(NAMES)]
    (folder / "list_eval_partition.csv").write_text("\n".join(["image_id,partition", *rows]))
    rows = [f"{name},{1 if number % 2 else -1},-1" for number, name in enumerate(NAMES)]
    (folder / "list_attr_celeba.csv").write_text("\n".join(["image_id,Smiling,Blond_Hair", *rows]))


def prepare(root: Path, **options) -> PackedDataset:
    config = CelebAConfig(root=str(root), **{"image_size": 16, "download": False, **options})
    return pack_dataset(CelebA(config))


def failure(root: Path, **options) -> str:
    with pytest.raises(DataError) as error:
        prepare(root, **options)
    return str(error.value)


def grays(packed: PackedDataset) -> list[int]:
    return [round(value / 20) for value in packed.images.mean(axis=(1, 2, 3)).tolist()]


@pytest.mark.parametrize(
    ("images", "root"),
    [
        ("data/img_align_celeba", "data/img_align_celeba"),
        ("data/img_align_celeba", "data"),
        ("data/celeba/img_align_celeba", "data"),
        ("data/celeba/img_align_celeba", "data/celeba"),
        ("data/img_align_celeba/img_align_celeba", "data"),
        ("data/img_align_celeba/img_align_celeba", "data/img_align_celeba"),
        ("data/faces", "data/faces"),
        ("data/Img/img_align_celeba", "data"),
        ("data/img_align_celeba.zip", "data"),
        ("data/img_align_celeba.zip", "data/img_align_celeba.zip"),
        ("data/celeba/img_align_celeba.zip", "data"),
        ("data/Img/img_align_celeba.zip", "data"),
    ],
)
def test_wherever_it_lies(tmp_path, images, root):
    (write_zip if images.endswith(".zip") else write_folder)(tmp_path / images)
    packed = prepare(tmp_path / root)
    assert grays(packed) == [1, 2, 3, 4, 5, 6]
    assert packed.images.shape == (6, 16, 16, 3)
    assert packed.labels is None


def test_the_defaults_are_the_usual_view():
    config = CelebAConfig()
    assert (config.image_size, config.crop, config.channels) == (64, 178, 3)


def test_a_zip_of_another_layout_and_with_other_things_in_it(tmp_path):
    extra = {
        "../../escape/000009.jpg": gray_jpeg(180),
        "__MACOSX/img_align_celeba/._000001.jpg": b"resource fork",
        "readme.txt": b"hello",
        "/etc/passwd": b"root",
    }
    write_zip(tmp_path / "data/img_align_celeba.zip", "celeba/img_align_celeba/", extra)
    before = {path for path in tmp_path.rglob("*") if "cache" not in path.parts}
    packed = prepare(tmp_path / "data")
    assert grays(packed)[:6] == [1, 2, 3, 4, 5, 6]
    assert {path for path in tmp_path.rglob("*") if "cache" not in path.parts} == before


def test_a_damaged_image_in_a_zip_is_named(tmp_path):
    path = write_zip(tmp_path / "data/img_align_celeba.zip")
    content = bytearray(path.read_bytes())
    start = content.find(gray_jpeg(60))
    content[start + 300 : start + 310] = b"\x00" * 10
    path.write_bytes(content)
    text = failure(tmp_path / "data")
    assert "1 of 6 images" in text
    assert f"{path}: 000003.jpg: BadZipFile: Bad CRC-32" in text


def test_a_whole_zip_makes_up_for_a_half_unpacked_folder(tmp_path):
    write_folder(tmp_path / "data/img_align_celeba", count=2)
    write_zip(tmp_path / "data/img_align_celeba.zip")
    assert len(prepare(tmp_path / "data")) == 6


def test_a_half_unpacked_folder(tmp_path):
    folder = write_folder(tmp_path / "data/img_align_celeba", count=4)
    text = failure(tmp_path / "data")
    assert f"{folder} holds 4 images of 6" in text
    assert "dataset.allow_partial = true" in text
    assert len(prepare(tmp_path / "data", allow_partial=True)) == 4


def test_the_real_dataset_has_this_many_images(monkeypatch, tmp_path):
    monkeypatch.setattr(celeba, "COMPLETE", REAL_COUNT)
    write_folder(tmp_path / "data/img_align_celeba")
    assert "holds 6 images of 202,599" in failure(tmp_path / "data")


@pytest.mark.parametrize("root", ["data", "data/img_align_celeba"])
def test_an_empty_folder(tmp_path, root):
    folder = tmp_path / "data/img_align_celeba"
    folder.mkdir(parents=True)
    assert f"{folder} holds no CelebA images" in failure(tmp_path / root, download=True)


def test_a_truncated_zip(tmp_path):
    path = write_zip(tmp_path / "data/img_align_celeba.zip")
    path.write_bytes(path.read_bytes()[:5000])
    text = failure(tmp_path / "data")
    assert f"{path} is damaged or only partly downloaded" in text
    assert "download it again" in text


def test_google_drives_web_page_instead_of_the_zip(tmp_path):
    path = tmp_path / "data/img_align_celeba.zip"
    path.parent.mkdir()
    path.write_text("\n<!DOCTYPE html><html><head><title>Google Drive - Quota exceeded</title></head></html>")
    text = failure(tmp_path / "data")
    assert f"{path} is a web page" in text
    assert "quota" in text


def test_a_damaged_zip_beside_a_whole_folder_does_no_harm(tmp_path):
    write_folder(tmp_path / "data/img_align_celeba")
    (tmp_path / "data/img_align_celeba.zip").write_text("<html>")
    assert len(prepare(tmp_path / "data")) == 6


def test_nothing_there_and_no_leave_to_download(tmp_path):
    text = failure(tmp_path / "data")
    assert f"CelebA is not in {tmp_path / 'data'}, and dataset.download is false" in text
    assert "put img_align_celeba.zip" in text


def test_nothing_there_and_no_way_to_download(tmp_path):
    text = failure(tmp_path / "data", download=True)
    assert "cannot be downloaded from Google Drive (Failed to resolve 'drive.google.com')" in text
    assert "put img_align_celeba.zip" in text
    assert str(tmp_path / "data") in text


def test_a_download_is_used(tmp_path, monkeypatch):
    monkeypatch.setattr(celeba, "fetch", lambda file: write_zip(file.path))
    assert len(prepare(tmp_path / "data", download=True)) == 6


@pytest.mark.parametrize(("split", "expected"), [("train", [1, 2, 3]), ("valid", [4]), ("test", [5, 6])])
def test_splits(tmp_path, split, expected):
    write_folder(tmp_path / "data/img_align_celeba")
    write_lists(tmp_path / "data")
    assert grays(prepare(tmp_path / "data", split=split)) == expected


def test_attributes_are_classes(tmp_path):
    write_zip(tmp_path / "data/img_align_celeba.zip")
    write_lists(tmp_path / "data")
    packed = prepare(tmp_path / "data", attribute="Smiling")
    assert packed.info.class_names == ("not Smiling", "Smiling")
    assert packed.labels.tolist() == [0, 1, 0, 1, 0, 1]
    assert set(prepare(tmp_path / "data", attribute="Blond_Hair").labels.tolist()) == {0}


def test_attributes_are_labels_of_their_own(tmp_path):
    write_folder(tmp_path / "data/img_align_celeba")
    write_lists(tmp_path / "data")
    packed = prepare(tmp_path / "data", attributes=("Smiling", "Blond_Hair"))
    assert packed.info.labels == LabelSpec("attributes", ("Smiling", "Blond_Hair"))
    assert packed.labels.tolist() == [[0, 0], [1, 0], [0, 0], [1, 0], [0, 0], [1, 0]]
    assert {"Smiling", "Blond_Hair"} <= {*prepare(tmp_path / "data", attributes="all").info.labels.names}
    with pytest.raises(
        DataError, match=r'dataset\.attributes: CelebA has no attribute "smiling"; did you mean "Smiling"'
    ):
        prepare(tmp_path / "data", attributes=("smiling",))
    with pytest.raises(ValueError, match="set one of them"):
        prepare(tmp_path / "data", attributes="all", attribute="Smiling")


def test_attribute_and_split_together_with_kaggles_lists(tmp_path):
    write_folder(tmp_path / "data/img_align_celeba/img_align_celeba")
    write_kaggle_lists(tmp_path / "data")
    packed = prepare(tmp_path / "data", attribute="Smiling", split="test")
    assert grays(packed) == [5, 6]
    assert packed.labels.tolist() == [0, 1]


def test_lists_in_the_official_folders(tmp_path):
    write_folder(tmp_path / "data/Img/img_align_celeba")
    (tmp_path / "data/Eval").mkdir()
    write_lists(tmp_path / "data/Eval")
    assert len(prepare(tmp_path / "data", split="test")) == 2
    assert len(prepare(tmp_path / "data/Img/img_align_celeba", split="test")) == 2


def test_a_missing_list_says_where_to_put_it(tmp_path):
    write_folder(tmp_path / "data/img_align_celeba")
    text = failure(tmp_path / "data", split="train")
    assert 'dataset.split = "train" needs CelebA\'s list_eval_partition.txt' in text
    assert f"put it into {tmp_path / 'data'}" in text
    text = failure(tmp_path / "data", attribute="Smiling")
    assert 'dataset.attribute = "Smiling" needs CelebA\'s list_attr_celeba.txt' in text


def test_a_list_that_is_a_web_page_or_cut_short(tmp_path):
    write_folder(tmp_path / "data/img_align_celeba")
    write_lists(tmp_path / "data")
    path = tmp_path / "data/list_eval_partition.txt"
    path.write_text("\n".join(path.read_text().splitlines()[:3]))
    text = failure(tmp_path / "data", split="train")
    assert f"{path} says nothing about 3 of the 6 images" in text
    assert "000004.jpg" in text
    path.write_text("<!DOCTYPE html>")
    assert "is a web page" in failure(tmp_path / "data", split="train")


@pytest.mark.parametrize(
    ("asked", "hint"),
    [
        ("smiling", 'did you mean "Smiling"'),
        ("Blond Hair", 'did you mean "Blond_Hair"'),
        ("Smilling", 'did you mean "Smiling"'),
        ("Wings", "it has Smiling, Blond_Hair"),
    ],
)
def test_an_unknown_attribute(tmp_path, asked, hint):
    write_folder(tmp_path / "data/img_align_celeba")
    write_lists(tmp_path / "data")
    text = failure(tmp_path / "data", attribute=asked)
    assert f'no attribute "{asked}"' in text
    assert hint in text


def test_a_folder_and_its_zip_give_the_same_pixels(tmp_path):
    write_folder(tmp_path / "a/img_align_celeba")
    write_zip(tmp_path / "b/img_align_celeba.zip")
    assert np.array_equal(prepare(tmp_path / "a").images, prepare(tmp_path / "b").images)
