"""Folders, zips and files of several images: what is told of them, and what is taken."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from ganzoo_datasets.configs import ImagePairsConfig
from ganzoo_datasets.image_pairs import ImagePairs
from image_folders import encoded, folder, pack, picture, put
from PIL import Image

from ganzoo.data.packed_dataset import pack_dataset
from ganzoo.data.prepare import examine_dataset
from ganzoo.errors import DataError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    return folder


def animation(kind: str, count: int = 5) -> bytes:
    first, *others = [Image.new("L", (8, 8), 40 * index) for index in range(count)]
    for image in (first, *others):
        image.paste(255, (4, 0, 8, 8))
    options = {} if kind == "TIFF" else {"duration": 100}
    if kind == "WEBP":
        options["lossless"] = True
    return encoded(first, kind, save_all=True, append_images=others, **options)


# Several images in a file


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("kind", ["GIF", "TIFF", "WEBP", "PNG"])
def test_frames_that_are_dropped_are_told_or_taken(root: Path, kind: str, depth: int):
    for name in "ab":
        (root / f"{name}.{kind.lower()}").write_bytes(animation(kind))
        (root / name).mkdir()
        picture(3, "L").save(root / name / "single.png")
        (root / f"{name}.{kind.lower()}").rename(root / name / f"clip.{kind.lower()}")
    first = pack(root, depth=depth, labels="folders")
    assert len(first) == 4
    assert first.findings == (
        '2 files with 10 frames in all, of which only the first of each is taken: dataset.frames = "all" takes all',
    )
    whole = pack(root, depth=depth, labels="folders", frames="all")
    assert whole.findings == ()
    assert whole.labels.tolist() == [0] * 6 + [1] * 6
    values = [image[0, 0, 0] // (257 if depth == 16 else 1) for image in whole.images[:5]]
    assert values == [0, 40, 80, 120, 160]
    assert whole.key != first.key


def test_a_bad_frame_is_named(root: Path, monkeypatch: pytest.MonkeyPatch):
    (root / "a.gif").write_bytes(animation("GIF"))
    dataset = folder(root, frames="all", crop=20)
    found = examine_dataset(dataset)
    assert found.too_small[3].startswith(f"{root}/a.gif, frame 3: 8×8 pixels")


def test_the_previews_of_a_camera_are_no_frames(root: Path):
    (root / "a.jpg").write_bytes(encoded(picture(), "MPO", save_all=True, append_images=[picture(1)]))
    assert pack(root).findings == ()
    assert len(pack(root, frames="all")) == 1


def test_a_stack_in_an_array_is_told(root: Path):
    np.save(root / "a.npy", np.zeros((120, 8, 8, 3), np.uint8))
    with pytest.raises(DataError, match=r"shape \(120, 8, 8, 3\).*give each image by itself, not a stack"):
        pack_dataset(folder(root, channels=3), cache=root.parent)


# Folders


@pytest.mark.parametrize("splits", [("test", "train"), ("Train", "Val"), ("train",), ("test", "train", "validation")])
def test_parts_of_the_data_are_no_classes(root: Path, splits: tuple[str, ...]):
    put(root, *(f"{split}/{kind}/a.png" for split in splits for kind in ("cat", "dog")))
    (finding,) = pack(root, labels="folders").findings
    assert finding == (
        f"the folders {', '.join(splits)} are taken for classes, and look like parts of the data: "
        f'for one of them set dataset.root = "{root / splits[0]}"'
    )
    inside = pack(root / splits[0], labels="folders")
    assert (inside.info.class_names, inside.findings) == (("cat", "dog"), ())
    together = pack(root).findings
    assert together == (
        (f"the images of {', '.join(splits)} are taken together: " + finding.partition(": ")[2],) * (len(splits) > 1)
    )


def test_a_class_may_be_called_train(root: Path):
    put(root, "train/a.png", "plane/a.png", "bus/a.png")
    assert pack(root, labels="folders").findings == ()


def test_one_folder_around_the_classes_is_told(root: Path):
    put(root, "photos/cat/a.png", "photos/dog/a.png")
    (finding,) = pack(root, labels="folders").findings
    assert finding == (
        f'"photos" is the only class, with folders in it: for these to be the classes set '
        f'dataset.root = "{root}/photos"'
    )


def test_files_left_alone_are_told_with_what_to_do(root: Path):
    put(root, "a.png")
    for name in ("b.heic", "c.heic", "d.dcm", "e.mp4", "f.tar", "g.txt"):
        (root / name).write_bytes(b"x")
    assert pack(root).findings == (
        "6 other files are left alone: 2 .heic, 1 .dcm, 1 .mp4, 1 .tar, 1 .txt; make images of the videos, such as "
        "with ffmpeg -i NAME %06d.png; convert those that hold images to PNG or .npy; unpack the archives for what "
        "is in them to be used",
    )


def test_pairs_tell_the_same(root: Path):
    put(root, "A/1.png", "A/2.png", "B/1.png", "B/2.png")
    (root / "A/3.heic").write_bytes(b"x")
    Image.new("RGB", (16, 16)).save(root / "A/1.png")
    Image.new("RGB", (16, 16)).save(root / "A/2.png")
    for pairing in ("aligned", "unpaired"):
        dataset = ImagePairs(ImagePairsConfig(root=str(root), pairing=pairing, image_size=8))
        packed = pack_dataset(dataset, cache=root.parent / pairing)
        found = examine_dataset(dataset)
        assert tuple(found.notes) == packed.findings
        assert (found.images, found.usable, found.unreadable) == (2, 2, [])
        assert packed.findings == (
            f"{root}/A: 1 other files are left alone: 1 .heic; convert those that hold images to PNG or .npy",
            "2 of 2 conditions come out in a single color: look at the files, and at dataset.background for "
            'transparent parts, which become "white"',
        )


# Zips


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def test_a_zip_is_a_source(root: Path):
    files = {
        f"{part}/{kind}/{number}.png": encoded(picture(number))
        for part in ("train", "test")
        for kind in ("cat", "dog")
        for number in range(2)
    }
    others = {"readme.txt": b"x", "__MACOSX/train/cat/._0.png": b"x", "train/.hidden.png": b"x"}
    archive = zipped(root / "Faces.ZIP", files | others)
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(root / "unpacked")
    whole = pack(archive, channels=3)
    assert len(whole) == 8
    assert np.array_equal(whole.images, pack(root / "unpacked", channels=3).images)
    assert whole.findings == (
        f'the images of test, train are taken together: for one of them set dataset.root = "{archive}/test"',
        "1 other files are left alone: 1 .txt",
    )
    inside = pack(archive / "train", channels=3, labels="folders")
    assert (inside.info.class_names, inside.labels.tolist()) == (("cat", "dog"), [0, 0, 1, 1])
    with pytest.raises(DataError, match=r"no images in .*Faces\.ZIP/nowhere"):
        pack(archive / "nowhere")


def test_a_zip_as_stylegan_has_it(root: Path):
    labels = json.dumps({"labels": [["00000/img0.png", 1], ["00000/img1.png", 0]]})
    files = {f"00000/img{number}.png": encoded(picture(number)) for number in range(2)}
    archive = zipped(root / "set.zip", files | {"dataset.json": labels.encode()})
    packed = pack(archive, labels="dataset.json")
    assert packed.labels.tolist() == [1, 0]
    assert packed.findings == ("the labels are 2 classes: 0, 1",)
    with pytest.raises(DataError, match=r"labels\.csv: No such file or directory: set dataset\.labels"):
        pack(archive, labels="labels.csv")


def test_no_name_in_a_zip_leads_out_of_it(root: Path):
    (root / "secret.png").write_bytes(encoded(picture(5)))
    names = ("../secret.png", "/etc/a.png", "C:\\a\\b.png", "a/../../b.png", "ok.png")
    archive = zipped(root / "a.zip", {name: encoded(picture(7)) for name in names})
    before = sorted(root.parent.rglob("*"))
    found = examine_dataset(folder(archive))
    assert (found.images, found.usable) == (3, 3)
    assert all(str(archive) in line for line in found.duplicates[0])
    assert sorted(root.parent.rglob("*")) == before


def test_a_zip_that_unpacks_to_too_much_is_bounded(root: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("ganzoo_datasets.image_folder._LARGEST_IN_ARCHIVE", 100_000)
    archive = zipped(root / "a.zip", {"bomb.png": bytes(10_000_000), "ok.png": encoded(picture())})
    with pytest.raises(DataError, match=r"bomb\.png: 10 MB unpacked is too large"):
        pack_dataset(folder(archive), cache=root.parent)
    assert len(pack_dataset(folder(archive, max_bad_fraction=0.5), cache=root.parent)) == 1


@pytest.mark.parametrize(
    ("name", "data", "told"),
    [
        ("a.zip", b"<html>quota</html>", "is a web page and not the archive"),
        ("a.zip", b"PK\3\4 cut", "is damaged, or no zip archive"),
        ("a.tar.gz", b"\x1f\x8b", r"is not a folder: unpack it, and set dataset\.root"),
    ],
)
def test_what_is_no_zip(root: Path, name: str, data: bytes, told: str):
    (root / name).write_bytes(data)
    with pytest.raises(DataError, match=told):
        pack_dataset(folder(root / name), cache=root.parent)
