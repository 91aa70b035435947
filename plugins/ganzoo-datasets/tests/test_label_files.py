"""Labels of a folder's images from folders, StyleGAN's dataset.json and tables; arrays in folders."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ganzoo_datasets.configs import ImageFolderConfig
from ganzoo_datasets.image_folder import ImageFolder
from ganzoo_datasets.label_files import natural_key
from PIL import Image
from pydantic import ValidationError

from ganzoo.components.spec import LabelSpec
from ganzoo.data.packed_dataset import PackedDataset, pack_dataset, real_images
from ganzoo.errors import DataError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    for index in range(3):
        (folder / f"0000{index % 2}").mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4), index).save(folder / f"0000{index % 2}" / f"img{index}.png")
    return folder  # in the order of their paths: img0, img2, img1


def folder(root: Path, **options: Any) -> ImageFolder:
    return ImageFolder(ImageFolderConfig(root=str(root), **{"image_size": 4, "channels": 1, **options}))


def pack(root: Path, **options: Any) -> PackedDataset:
    return pack_dataset(folder(root, **options), cache=root.parent / "cache")


@pytest.mark.parametrize("as_pairs", [True, False])
@pytest.mark.parametrize(
    ("values", "spec", "labels"),
    [
        ([3, 1, 0], LabelSpec.classes("0123"), [3, 0, 1]),
        ([[1, 0], [0, 0], [0, 1]], LabelSpec("attributes", ("0", "1")), [[1, 0], [0, 1], [0, 0]]),
        ([-1, 1, 1], LabelSpec.classes(("-1", "0", "1")), [0, 2, 2]),
        ([0.5, 1, 2], LabelSpec("continuous", ("0",)), [[0.5], [2], [1]]),
    ],
)
def test_dataset_json(root: Path, values, spec, labels, as_pairs):
    table = [[f"0000{index % 2}/img{index}.png", value] for index, value in enumerate(values)]
    (root / "dataset.json").write_text(json.dumps({"labels": table if as_pairs else dict(table)}))
    packed = pack(root, labels="dataset.json")
    assert packed.info.labels == spec
    assert packed.labels.tolist() == labels
    (root / "dataset.json").write_text(json.dumps({"labels": [[name, 0] for name, _ in table]}))
    assert pack(root, labels="dataset.json").info.labels == LabelSpec.classes("0")


@pytest.mark.parametrize(
    ("table", "spec", "labels"),
    [
        ("file,class\nimg0.png,owl\nimg1.png,cat\nimg2.png,owl\n", LabelSpec.classes(("cat", "owl")), [1, 1, 0]),
        ("file,class\nimg0.png,10\nimg1.png,9\nimg2.png,10\n", LabelSpec.classes(("9", "10")), [1, 1, 0]),
        (
            "file,a,b\n00000/img0.png,-1,1\n00001/img1.png,1,1\n00000/img2.png,-1,-1\n",
            LabelSpec("attributes", ("a", "b")),
            [[0, 1], [0, 0], [1, 1]],
        ),
        (
            "file,angle,age\nimg0.png,1.5,3\nimg1.png,2,4\nimg2.png,0,5\nother.png,1,1\n",
            LabelSpec("continuous", ("angle", "age")),
            [[1.5, 3], [0, 5], [2, 4]],
        ),
    ],
)
def test_tables(root: Path, table, spec, labels):
    (root / "labels.csv").write_text(table)
    packed = pack(root, labels="labels.csv")
    assert packed.info.labels == spec
    assert packed.labels.tolist() == labels
    dataset = folder(root, labels="labels.csv")
    dataset.prepare()
    assert dataset.notes() == (f"the labels are {spec}: {', '.join(spec.names)}",)


def test_the_kind_of_the_labels_can_be_said(root: Path):
    (root / "labels.csv").write_text("file,smile\nimg0.png,1\nimg1.png,0\nimg2.png,1\n")
    assert pack(root, labels="labels.csv").info.labels == LabelSpec.classes("01")
    assert pack(root, labels="labels.csv", label_kind="attributes").labels.tolist() == [[1], [1], [0]]
    assert pack(root, labels="labels.csv", label_kind="continuous").info.labels == LabelSpec("continuous", ("smile",))


def test_labels_of_a_zip_may_lie_elsewhere(root: Path, tmp_path: Path):
    (tmp_path / "labels.csv").write_text("file,smile\nimg0.png,1\nimg1.png,0\nimg2.png,1\n")
    archive = shutil.make_archive(str(tmp_path / "images"), "zip", root)
    options = {"labels": str(tmp_path / "labels.csv"), "label_kind": "attributes"}
    assert np.array_equal(pack(Path(archive), **options).labels, pack(root, **options).labels)
    with pytest.raises(DataError, match="to the file with the labels"):
        pack(Path(archive), labels=str(tmp_path / "none.csv"))


@pytest.mark.parametrize("inside", ["", "00000", "00000/deep"])
def test_labels_beside_a_zip_are_found_as_those_beside_a_folder(root: Path, tmp_path: Path, inside: str):
    """Each ".." leads out of a folder of the zip, and the last out of the zip."""

    def targets(place: Path, labels: str) -> Any:
        dataset = folder(place / inside, labels=labels)
        dataset.prepare()
        return dataset.open().targets

    (root / inside).mkdir(exist_ok=True)
    Image.new("L", (4, 4), 7).save(root / inside / "img7.png")
    for place in (tmp_path, root / "00001"):
        (place / "labels.csv").write_text("file,smile\nimg0.png,1\nimg1.png,0\nimg2.png,1\nimg7.png,0\n")
    archive = Path(shutil.make_archive(str(tmp_path / "zipped"), "zip", root))
    out = "../" * len(Path(inside).parts)
    expected = targets(root, f"../{out}labels.csv")
    assert targets(archive, f"../{out}labels.csv") == targets(archive, f"{out}00001/labels.csv") == expected
    for missing in (f"../{out}none.csv", f"{out}00001/none.csv", ".."):
        with pytest.raises(DataError, match=r"set dataset\.labels to the file with the labels"):
            targets(archive, missing)


def test_paths_that_start_elsewhere_are_told(root: Path, tmp_path: Path):
    (tmp_path / "labels.csv").write_text("file,smile\nimages/00000/img0.png,1\nimages/00001/img1.png,0\n")
    told = r"no label for 3 of 3 images, such as 00000/img0\.png, and one for images/00000/img0\.png: write paths rel"
    with pytest.raises(DataError, match=told):
        pack(root, labels="../labels.csv")


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        ("attributes", (1, 0, 5), r"5\.0 for 00001/img1.png, and attributes must be 0 or 1, or −1 and 1"),
        ("continuous", (1, "nan", 0), "nan for 00000/img2.png, and continuous values must be finite"),
    ],
)
def test_values_of_another_kind_are_told_once(root: Path, kind, values, message):
    # in the order of the paths: img0, img2, img1
    rows = "".join(f"img{index}.png,{value},1\n" for index, value in zip((0, 2, 1), values, strict=True))
    (root / "labels.csv").write_text(f"file,a,b\n{rows}")
    with pytest.raises(DataError, match=message) as error:
        pack(root, labels="labels.csv", label_kind=kind)
    assert "cannot be used" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("labels.csv", None, r"labels.csv: No such file.*set dataset.labels"),
        ("labels.csv", "file\n", "has no header with the file's name and at least one column"),
        ("labels.csv", "file;label\nimg0.png;1\n", "at least one column of labels: separate them by commas$"),
        ("labels.csv", 'file,label\nimg0.png,0\nimg1.png,"1\nimg2.png,0\n', "line 3 leaves a quote open: close it"),
        ("labels.csv", 'file,label\nimg0.png,"0\n' + "img1.png,1\n" * 12_000, "line 2 leaves a quote open: close it"),
        ("labels.csv", "img0.png,1\nimg1.png,1\nimg2.png,2\n", "begins with an image: put a header before it"),
        ("labels.csv", "00000/img0.png,1\n", "begins with an image: put a header before it"),
        ("labels.csv", "file,a\nimg0.png,1\n", "no label for 2 of 3 images, such as 00000/img2.png"),
        ("labels.csv", "file,a,b\nimg0.png,1,x\nimg1.png,1,y\nimg2.png,2,z\n", 'text in the column "b"'),
        ("labels.csv", "file,a,b\nimg0.png,1\nimg1.png,1,2\nimg2.png,2,3\n", "not a value in each column"),
        ("labels.csv", "file,a,b,c\nimg0.png,1,2\nimg1.png,1,2\nimg2.png,2,3\n", "not a value in each column"),
        ("labels.csv", "file,a\nimg0.png,1,2\nimg1.png,1,2\nimg2.png,2,3\n", "not a value in each column"),
        ("labels.csv", "file,a\nimg0.png,cat\nimg1.png,cat\nimg2.png,cat\nimg0.png,dog\n", "two labels for img0.png"),
        (
            "dataset.json",
            '{"labels": [["img0.png", 20260101], ["img1.png", 0], ["img2.png", 0]]}',
            r'class index 20260101 for 3 images, .*dataset.label_kind = "continuous"',
        ),
        ("dataset.json", "{}", "is not as StyleGAN has it"),
        ("dataset.json", '{"labels": null}', "is not as StyleGAN has it"),
        ("dataset.json", '{"labels": [["img0.png", "x"]]}', "has labels that are no numbers"),
    ],
)
def test_damaged_label_files(root: Path, name, text, message):
    if text is not None:
        (root / name).write_text(text)
    with pytest.raises(DataError, match=message):
        pack(root, labels=name)


def test_other_names_make_another_pack(root: Path):
    """Their order numbers the classes, so that after a change the same numbers may stand for other names."""
    table = "file,kind\nimg0.png,cat\nimg1.png,dog\nimg2.png,dog\n"
    (root / "labels.csv").write_text(table)
    assert pack(root, labels="labels.csv").info.labels == LabelSpec.classes(("cat", "dog"))
    assert len(pack(root, labels="labels.csv", classes=["dog"])) == 2
    (root / "labels.csv").write_text(table.replace("dog", "horse").replace("cat", "dog"))
    assert pack(root, labels="labels.csv").info.labels == LabelSpec.classes(("dog", "horse"))
    assert len(pack(root, labels="labels.csv", classes=["dog"])) == 1
    (root / "labels.csv").write_text("file,smiling,male\nimg0.png,1,0\nimg1.png,0,1\nimg2.png,0,0\n")
    assert pack(root, labels="labels.csv").info.labels == LabelSpec("attributes", ("smiling", "male"))
    (root / "labels.csv").write_text("file,male,smiling\nimg0.png,1,0\nimg1.png,0,1\nimg2.png,0,0\n")
    assert pack(root, labels="labels.csv").info.labels == LabelSpec("attributes", ("male", "smiling"))


def test_labels_of_other_images_do_not_count(root: Path):
    rows = [["img0.png", [0.1, 0.2]], ["img1.png", [0.3, 0.4]], ["img2.png", [0.5, 0.6]], ["gone.png", [1, 2, 3]]]
    (root / "dataset.json").write_text(json.dumps({"labels": rows}))
    assert pack(root, labels="dataset.json").info.labels == LabelSpec("continuous", ("0", "1"))


def test_numbered_folders_are_in_natural_order(tmp_path: Path):
    names = ["0", "1", "2", "9", "10", "11", "a2", "a10", "²"]
    for name in names:
        (tmp_path / "images" / name).mkdir(parents=True)
        Image.new("L", (4, 4)).save(tmp_path / "images" / name / "x.png")
    assert pack(tmp_path / "images", labels="folders").info.class_names == tuple(names)
    assert sorted(["02", "2", "10"], key=natural_key) == ["02", "2", "10"]
    assert sorted(["1", "a-2", "-1", "0", "-10", "a-1"], key=natural_key) == ["-10", "-1", "0", "1", "a-1", "a-2"]


def test_arrays_in_a_folder(tmp_path: Path):
    root = tmp_path / "images"
    root.mkdir()
    array = np.random.default_rng(0).integers(0, 10_000, (4, 4, 13)).astype(np.uint16)
    np.save(root / "a.npy", array)
    np.savez(root / "b.npz", array)
    packed = pack(root, channels=13)
    assert packed.images.dtype == np.uint16
    assert np.array_equal(packed.images, [array, array])
    assert np.array_equal(pack(root, channels=3, bands=(3, 2, 1)).images[0], array[:, :, [3, 2, 1]])
    scaled = pack(root, channels=13, value_range=(0, 10_000)).images
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled[0], array / 5000 - 1, atol=1e-6)
    with pytest.raises(DataError, match=r"has no channels \[13\]"):
        pack(root, bands=(13,))
    Image.new("RGBA", (4, 4)).save(root / "c.png")
    with pytest.raises(DataError, match=r"c\.png.*is a picture, and dataset\.bands picks channels of arrays"):
        pack(root, bands=(3,), channels=1)
    (root / "c.png").unlink()
    with pytest.raises(ValidationError, match=r"bands names 2 channels: set channels = 2"):
        folder(root, bands=(0, 1))
    np.savez(root / "b.npz", array, array)
    np.save(root / "c.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="holds 2 arrays") as error:
        pack(root, channels=13)
    assert "allow_pickle" in str(error.value)


def test_sixteen_bits_are_kept_where_asked(tmp_path: Path):
    root = tmp_path / "images"
    root.mkdir()
    gray = (np.arange(16, dtype=np.uint16) * 4001).reshape(4, 4)
    Image.fromarray(gray).save(root / "a.png")
    Image.fromarray(gray).save(root / "b.tif")
    Image.fromarray((gray // 257).astype(np.uint8)).save(root / "c.png")
    deep = pack(root, depth=16).images
    assert deep.dtype == np.uint16
    assert np.array_equal(deep[..., 0], [gray, gray, gray // 257 * 257])
    assert pack(root).images.dtype == np.uint8


@pytest.mark.parametrize("value_range", [None, [0, 200], [0, 1000], "auto"])
@pytest.mark.parametrize("channels", [2, 4])
def test_alpha_is_the_same_at_either_depth(tmp_path: Path, channels: int, value_range: Any):
    """It has a range of its own, and images without it are opaque."""
    root = tmp_path / "images"
    root.mkdir()
    pixels = np.full((4, 4, 4), 50, np.uint8)
    pixels[..., 3] = [[0], [51], [128], [255]]
    Image.fromarray(pixels).save(root / "a.png")
    Image.fromarray((np.arange(16, dtype=np.uint16) * 4001).reshape(4, 4)).save(root / "b.png")
    both = [pack(root, channels=channels, value_range=value_range, depth=depth) for depth in (8, 16)]
    shallow, deep = (real_images(each, torch.arange(2)) for each in both)
    assert deep.shape == (2, channels, 4, 4)
    assert deep[0, -1, :, 0].tolist() == pytest.approx([-1, -0.6, 2 * 128 / 255 - 1, 1], abs=1e-6)
    assert (deep[1, -1] == 1).all()
    assert torch.allclose(deep, shallow, atol=1 / 127)


@pytest.mark.parametrize(("channels", "shown"), [(1, [-0.4]), (2, [-1, -1]), (3, [1, -1, -1]), (4, [-1] * 4)])
@pytest.mark.parametrize("depth", [8, 16])
def test_a_transparent_gray_of_sixteen_bits_is_that_of_eight(tmp_path: Path, channels: int, shown: Any, depth: int):
    root = tmp_path / "images"
    root.mkdir()
    gray = np.repeat(np.array([[0, 40, 85, 255]], np.uint8), 4, axis=0)
    Image.fromarray(gray).save(root / "a.png", transparency=0)
    Image.fromarray(gray.astype(np.uint16) * 257).save(root / "b.png", transparency=0)
    shallow, deep = real_images(pack(root, channels=channels, depth=depth, background="#ff0000"), torch.arange(2))
    assert deep[:, 0, 0].tolist() == pytest.approx(shown, abs=0.01)
    assert torch.allclose(deep, shallow, atol=1 / 127)
