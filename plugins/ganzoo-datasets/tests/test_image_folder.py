"""Folders as people have them: nested, mixed, linked, with other things in between."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from ganzoo_datasets.configs import ImageFolderConfig
from ganzoo_datasets.image_folder import ImageFolder
from PIL import Image

from ganzoo.data.packed_dataset import PackedDataset, pack_dataset
from ganzoo.errors import DataError


def save(path: Path, color=(200, 100, 50), size=(12, 10), mode="RGB", **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, color).save(path, **options)
    return path


def prepare(root: Path, **options) -> PackedDataset:
    config = ImageFolderConfig(root=str(root), image_size=8, **options)
    return pack_dataset(ImageFolder(config))


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "pictures"
    folder.mkdir()
    return folder


def test_any_mix_of_formats_modes_sizes_and_depths(root):
    save(root / "a.png")
    save(root / "b.JPG", size=(300, 200))
    save(root / "deep/er/c.webp")
    save(root / "deep/d.bmp", 128, mode="L")
    save(root / "e.tiff", 128 * 257, mode="I;16")
    save(root / "f.gif", 1, mode="P")
    save(root / "g.jpeg", (0, 0, 0, 0), mode="CMYK")
    save(root / "h.png", (0, 0, 0, 0), mode="RGBA")
    save(root / "i.png", 1, mode="1")
    save(root / "日本語 ñandú 😀.png")
    packed = prepare(root)
    assert len(packed) == 10
    assert packed.labels is None
    assert np.abs(packed.images[0].astype(int) - (200, 100, 50)).max() == 0
    assert packed.images[2].max() <= 129
    assert packed.images[2].min() >= 127


def test_gray(root):
    save(root / "a.png", (0, 255, 0))
    packed = prepare(root, channels=1)
    assert packed.images.shape == (1, 8, 8, 1)
    assert (packed.images == 150).all()


def test_the_order_is_that_of_the_paths(root):
    for value, name in [(3, "b/x.png"), (1, "a.png"), (2, "b.png"), (4, "c/a.png")]:
        save(root / name, (value, value, value))
    values = prepare(root).images[:, 0, 0, 0].tolist()
    assert values == [1, 2, 3, 4]


def test_other_files_and_hidden_ones_are_ignored(root):
    save(root / "a.png")
    save(root / ".hidden.png")
    save(root / ".thumbnails/b.png")
    save(root / "__MACOSX/c.png")
    (root / "__MACOSX/._a.png").write_bytes(b"resource fork")
    (root / "notes.txt").write_text("not a picture")
    (root / "figure.eps").write_text("%!PS")
    (root / "folder.png").mkdir()
    assert len(prepare(root)) == 1


def test_links_are_followed_but_not_in_circles(root):
    save(root / "real/a.png")
    elsewhere = save(root.parent / "elsewhere/b.png")
    (root / "real/up").symlink_to(root, target_is_directory=True)
    (root / "linked").symlink_to(elsewhere.parent, target_is_directory=True)
    (root / "one.png").symlink_to(elsewhere)
    assert len(prepare(root)) == 3


def test_unreadable_files_are_all_reported(root):
    save(root / "good.png")
    (root / "empty.png").touch()
    (root / "page.jpg").write_text("<html>")
    whole = save(root / "cut.png", size=(500, 500)).read_bytes()
    (root / "cut.png").write_bytes(whole[: len(whole) // 2])
    (root / "gone.png").symlink_to(root / "nowhere.png")
    with pytest.raises(DataError) as error:
        prepare(root)
    text = str(error.value)
    assert "4 of 5 images" in text
    assert f"{root / 'empty.png'}: the file is empty" in text
    assert f"{root / 'page.jpg'}: not an image in a format that can be read" in text
    assert f"{root / 'cut.png'}: image file is truncated" in text
    assert f"{root / 'gone.png'}: No such file" in text
    packed = prepare(root, max_bad_fraction=0.8)
    assert len(packed) == 1
    assert len(packed.skipped) == 4


def test_a_decompression_bomb_is_a_bad_image(root, monkeypatch):
    save(root / "good.png")
    save(root / "large.png", size=(100, 100))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(DataError, match=r"large\.png: suspiciously large"):
        prepare(root)


def test_an_image_smaller_than_the_crop_is_reported(root):
    save(root / "small.png", size=(30, 12))
    with pytest.raises(DataError, match=r"small\.png: 30×12 pixels is smaller than the crop of 20"):
        prepare(root, crop=20)


def test_folders_as_classes(root):
    save(root / "dog/a.png")
    save(root / "cat/b.png")
    save(root / "cat/kittens/c.png")
    (root / "empty").mkdir()
    packed = prepare(root, labels="folders")
    assert packed.info.class_names == ("cat", "dog")
    assert packed.labels.tolist() == [0, 0, 1]


def test_an_image_outside_the_classes_is_an_error(root):
    save(root / "dog/a.png")
    save(root / "b.png")
    with pytest.raises(DataError, match=r"images lie in .*pictures.*, so in no class .1, such as .*b\.png"):
        prepare(root, labels="folders")


def test_a_changed_folder_is_prepared_anew(root):
    save(root / "a.png")
    assert len(prepare(root)) == 1
    save(root / "b.png")
    assert len(prepare(root)) == 2
    save(root / "b.png", (1, 2, 3))
    os.utime(root / "b.png", ns=(1, 1))
    assert prepare(root).images[1, 0, 0].tolist() == [1, 2, 3]


def test_folders_of_equal_names_sizes_and_times_are_told_apart_and_a_moved_one_is_found(root):
    """As archives unpack them: `git archive` gives all files one time, and raw pixels of one shape have one size."""
    for part, gray in (("train", 10), ("test", 200)):
        for name in ("0.pgm", "1.pgm"):
            os.utime(save(root / part / name, gray, mode="L"), ns=(5, 5))
    seen = [prepare(root / part).images[0, 0, 0, 0] for part in ("train", "test")]
    assert seen == [10, 200]
    key = prepare(root / "train").key
    (root / "train").rename(root / "moved")
    assert prepare(root / "moved").key == key


def test_a_missing_folder_a_file_and_a_folder_without_images(root):
    with pytest.raises(DataError, match=r"nothere does not exist: set dataset\.root"):
        prepare(root / "nothere")
    with pytest.raises(DataError, match="there are no files"):
        prepare(root)
    (root / "notes.txt").write_text("not a picture")
    with pytest.raises(DataError, match=r"other files: 1 \.txt"):
        prepare(root)
    with pytest.raises(DataError, match=r"notes\.txt is not a folder"):
        prepare(root / "notes.txt")


@pytest.mark.skipif(os.name != "posix", reason="file names are bytes on POSIX only")
def test_names_that_are_not_unicode(root):
    try:
        (Path(os.fsdecode(os.fsencode(root) + b"/caf\xe9.png"))).write_bytes(b"not an image")
    except OSError:
        pytest.skip("this file system takes Unicode names only")
    save(root / "a.png")
    with pytest.raises(DataError) as error:
        prepare(root)
    str(error.value).encode("utf-8")
