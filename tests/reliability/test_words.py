"""What commands are given by mistake is an error in words, before any work: no traceback, nothing written."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from PIL import Image

from ganzoo import api

Command = Callable[..., Any]


@pytest.fixture
def place(tmp_path: Path, tables_in: Callable[[Path], dict], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a recipe and what is none."""
    (tmp_path / "recipe.toml").write_text(tomli_w.dumps(tables_in(Path())))
    with zipfile.ZipFile(tmp_path / "script.pt", "w") as archive:
        for name in ("constants.pkl", "data.pkl", "code/__torch__.py", "version"):
            archive.writestr(f"script/{name}", pickle.dumps(()))
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "loop.toml").symlink_to("loop.toml")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("import script.pt --out run", "is a program of TorchScript"),
        ("sample script.pt --out a.png", "script.pt: is a file"),
        ("resume script.pt", "script.pt: is a file, not a run directory"),
        ("evaluate script.pt", "script.pt: is a file"),
        ("export script.pt --out e", "script.pt: is a file"),
        ("run recipe.toml --set init.from=script.pt", "init.from: script.pt: is a file"),
        ("run script.pt", "is not valid TOML"),
        ("sweep recipe.toml --seeds 100000000", "the sweep would be of 100000000 runs, and 10000 are the most"),
        ("sweep recipe.toml --seeds 1" + "0" * 400, "and 10000 are the most"),
        ("run recipe.toml --set run.seed=18446744073709551616", "run.seed: is a number beyond 2⁶³ − 1"),
        ("run recipe.toml --set loss.name=least_squares --set loss.real_target=1e308", "loss.real_target: is 1e+308"),
        ("run recipe.toml --set dataset.seed=-9223372036854775809", "dataset.seed: is -9223372036854775809"),
        ("run recipe.toml --set run.root=loop", "Too many levels of symbolic links"),
        ("run loop.toml", "loop.toml"),
        ("sample loop --out a.png", "loop"),
        ("resume loop", "loop: there is no such run directory"),
        ("compare loop", "loop"),
        ("recipe check loop.toml", "loop.toml"),
    ],
)
def test_mistakes_are_errors_in_words(command: Command, place: Path, arguments: str, told: str):
    before = sorted(path.name for path in place.iterdir())
    ended = command(*arguments.split())
    assert ended.code == 2
    assert told in ended.err.replace("\n", " ")
    assert "Traceback" not in ended.err
    assert sorted(path.name for path in place.iterdir()) == before


def test_a_folder_that_is_called_by_a_digit_that_is_none_is_no_number(tables: dict[str, Any], tmp_path: Path):
    """str.isdigit holds of "²", which int refuses."""
    for name in ("²", "③"):
        (tmp_path / "runs" / "tiny" / name).mkdir(parents=True)
    assert api.run(tables, ["run.steps=1"]).path.name == "0001"


def test_folders_that_lead_into_themselves_are_read_once(tables: dict[str, Any], tmp_path: Path):
    images = tmp_path / "images"
    images.mkdir()
    for index in range(8):
        Image.new("RGB", (16, 16), (index * 9, 0, 0)).save(images / f"{index}.png")
    (images / "again").symlink_to(images)
    (images / "self").symlink_to("self")
    tables["dataset"] = {"name": "image_folder", "root": str(images), "image_size": 16}
    assert len(api.run(tables, ["run.steps=1"]).training_set()) == 8
