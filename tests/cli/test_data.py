"""`ganzoo data`: what prepare and doctor print, and that bad files do not stop the doctor."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ganzoo.data import prepare as datasets
from ganzoo.data.prepare import examine_dataset
from ganzoo.errors import DataError
from ganzoo.recipe.model import Recipe
from ganzoo.registry.plugin_manager import PluginManager

Command = Callable[..., Any]
Tables = dict[str, Any]


def picture(seed: int, size: tuple[int, int] = (40, 30)) -> Image.Image:
    """Soft blobs, each picture of its own."""
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)


def save(image: Image.Image, path: Path, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)


@pytest.fixture
def pictures(tmp_path: Path, tables: Tables, recipe_file: Callable[[Tables], Path]) -> Path:
    """A recipe on a folder of two classes with everything in it that a folder can have."""
    root = tmp_path / "pictures"
    for number in range(6):
        save(picture(number), root / "cat" / f"{number}.png")
    for number in range(6, 10):
        save(picture(number, (400, 300)), root / "dog" / f"{number}.jpg", quality=95)
    save(picture(0), root / "dog" / "cat 0 again.bmp")
    save(picture(1, (400, 300)), root / "dog" / "cat 1 larger.jpg", quality=60)
    save(picture(2).convert("L"), root / "dog" / "gray.png")
    save(picture(20, (30, 12)), root / "cat" / "small.png")
    (root / "cat" / "broken.jpg").write_bytes((root / "dog" / "6.jpg").read_bytes()[:3000])
    (root / "cat" / "page.jpg").write_text("<html>")
    (root / "notes.txt").write_text("hello")
    tables["dataset"] = {"name": "image_folder", "root": str(root), "image_size": 16, "labels": "folders"}
    return recipe_file(tables)


def test_doctor_in_json(command: Command, pictures: Path, tmp_path: Path):
    ended = command("data", "doctor", pictures, "--json", "--set", "dataset.crop=20")
    assert ended.code == 0, ended.err
    found = json.loads(ended.out)
    root = tmp_path / "pictures"
    assert (found["dataset"], found["images"], found["usable"]) == ("image_folder", 16, 13)
    assert found["classes"] == {"cat": 6, "dog": 7}
    assert found["modes"] == {"RGB": 13, "L": 1}
    assert found["formats"] == {"PNG": 8, "JPEG": 5, "BMP": 1}
    assert found["sizes"] == {
        "width": {"smallest": 30, "median": 40, "largest": 400},
        "height": {"smallest": 12, "median": 30, "largest": 300},
        "different": 3,
        "most_common": [
            {"width": 40, "height": 30, "images": 8},
            {"width": 400, "height": 300, "images": 5},
            {"width": 30, "height": 12, "images": 1},
        ],
    }
    broken, page = found["unreadable"]
    assert broken.startswith(f"{root}/cat/broken.jpg: image file is truncated")
    assert page == f"{root}/cat/page.jpg: not an image in a format that can be read"
    assert found["too_small"] == [f"{root}/cat/small.png: 30×12 pixels is smaller than the crop of 20"]
    assert found["enlarged"] == []
    assert found["duplicates"] == [[f"{root}/cat/0.png", f"{root}/dog/cat 0 again.bmp"]]
    assert found["notes"] == ["1 other files are left alone: 1 .txt"]


def test_near_duplicates_and_enlarged_images(command: Command, pictures: Path, tmp_path: Path):
    root = tmp_path / "pictures"
    found = json.loads(command("data", "doctor", pictures, "--json").out)
    assert found["near_duplicates"] == [[f"{root}/cat/1.png", f"{root}/dog/cat 1 larger.jpg"]]
    assert found["enlarged"] == [f"{root}/cat/small.png: 30×12 pixels, enlarged 1.33 times"]
    assert found["usable"] == 14


def test_doctor_for_people(command: Command, pictures: Path, tmp_path: Path):
    ended = command("data", "doctor", pictures, "--set", "trainer.batch_size=32")
    assert ended.code == 0, ended.err
    lines = ended.out.splitlines()
    assert lines[0] == "image_folder: 16 images, 14 of them fit to train on"
    assert "width: 30 to 400, median 40" in lines
    assert "sizes: 3, most often 40×30 (8), 400×300 (5), 30×12 (1)" in lines
    assert "cannot be used: 2" in lines
    assert f"  {tmp_path}/pictures/cat/page.jpg: not an image in a format that can be read" in lines
    assert (
        "note: 14 usable images are fewer than the 32 that a step takes: set trainer.batch_size to 14 or less" in lines
    )
    assert not list(tmp_path.rglob("*.npy"))


def test_long_lists_are_cut_but_for_bad_files(command: Command, tables: Tables, recipe_file, tmp_path: Path):
    root = tmp_path / "pictures"
    for number in range(30):
        save(picture(number, (20, 20)), root / f"{number}.png")
        (root / f"{number}.gif").touch()
    tables["dataset"] = {"name": "image_folder", "root": str(root), "image_size": 32}
    lines = command("data", "doctor", recipe_file(tables)).out.splitlines()
    assert sum(line.endswith("the file is empty") for line in lines) == 30
    assert sum("enlarged 1.6 times" in line for line in lines) == 10
    assert "  … and 20 more; --json has all" in lines


@pytest.mark.parametrize("verb", ["doctor", "prepare"])
def test_data_that_is_not_there(command: Command, tables: Tables, recipe_file, verb: str):
    tables["dataset"] = {"name": "image_folder", "root": "nowhere"}
    ended = command("data", verb, recipe_file(tables))
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == "error: nowhere does not exist: set dataset.root to the folder with your images\n"


def test_a_folder_that_may_not_be_read(
    parse: Callable[..., Recipe], tables: Tables, manager: PluginManager, monkeypatch
):
    def closed(self: object) -> None:
        raise PermissionError(13, "Permission denied", "/private")

    monkeypatch.setattr("ganzoo_datasets.image_folder.ImageFolder.prepare", closed)
    tables["dataset"] = {"name": "image_folder"}
    with pytest.raises(DataError, match="/private: Permission denied"):
        datasets.examine(parse(tables), manager)


def test_prepare_says_what_there_is_and_where(command: Command, pictures: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path / "cache"))
    ended = command("data", "prepare", pictures)
    assert ended.code == 2
    assert "page.jpg: not an image" in ended.err
    ended = command("data", "prepare", pictures, "--set", "dataset.max_bad_fraction=0.2")
    assert ended.code == 0, ended.err
    summary, folder = ended.out.splitlines()
    assert summary == "14 images 3×16×16, 2 classes, 2 left out, 10.5 KiB"
    assert Path(folder).parent == tmp_path / "cache" / "packs"
    assert f"left out: {tmp_path}/pictures/cat/page.jpg: not an image in a format that can be read" in ended.err
    again = command("data", "prepare", pictures, "--set", "dataset.max_bad_fraction=0.2")
    assert again.out == ended.out


def test_prepare_mends_a_pack_whose_pixels_have_changed(command: Command, recipe_file, tables: Tables):
    folder = Path(command("data", "prepare", recipe_file(tables)).out.splitlines()[-1])
    whole = (folder / "images.npy").read_bytes()
    (folder / "images.npy").write_bytes(whole[:-5] + bytes([whole[-5] ^ 1]) + whole[-4:])
    assert command("data", "prepare", recipe_file(tables)).code == 0
    assert (folder / "images.npy").read_bytes() == whole


def test_a_run_goes_on_without_bad_images_and_says_which(command: Command, pictures: Path, tmp_path: Path):
    arguments = ["run", pictures, "--set", "run.steps=2"]
    ended = command(*arguments)
    assert ended.code == 2
    assert "2 of 16 images" in ended.err
    assert not (tmp_path / "runs").exists()
    ended = command(*arguments, "--set", "dataset.max_bad_fraction=0.2")
    assert ended.code == 0, ended.err
    environment = json.loads((Path(ended.out.splitlines()[-1]) / "environment.json").read_text())
    assert environment["images"] == 14
    assert [Path(line.partition(": ")[0]).name for line in environment["skipped_images"]] == ["broken.jpg", "page.jpg"]


@pytest.mark.parametrize("count", [1, 7])
def test_fewer_images_than_a_batch(command: Command, recipe_file, tables: Tables, tmp_path: Path, count: int):
    for number in range(count):
        save(picture(number), tmp_path / "few" / f"{number}.png")
    tables["dataset"] = {"name": "image_folder", "root": str(tmp_path / "few"), "image_size": 16}
    ended = command("run", recipe_file(tables))
    assert ended.code == 2
    assert f"has {count} images and trainer.batch_size is 8: set trainer.batch_size to {count} or less" in ended.err
    assert not (tmp_path / "runs").exists()


def test_all_pictures_of_one_color_are_looked_at_in_time(tmp_path: Path, parse, tables: Tables, manager: PluginManager):
    """The worst case of the search for near-duplicates: all hashes are the same."""
    for number in range(300):
        save(Image.new("RGB", (16, 16), (number % 256, 0, 0)), tmp_path / "flat" / f"{number:03d}.png")
    tables["dataset"] = {"name": "image_folder", "root": str(tmp_path / "flat"), "image_size": 16}
    recipe = parse(tables)
    dataset = manager.registries.datasets["image_folder"].load()(recipe.dataset)
    found = examine_dataset(dataset)
    assert len(found.duplicates) == 44
    assert len(found.near_duplicates) == 1
