"""Commands on the latent space: what they write; wrong requests are one line and code 2."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ganzoo import api

Command = Callable[..., Any]

CALLS = {
    "latent-grid": [],
    "interpolate": [],
    "arithmetic": ["--a", "1,2,3", "--b", "4,5,6", "--c", "7,8,9"],
    "direction": ["--left", "1,2", "--right", "3,4"],
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tables_in: Callable[[Path], dict]) -> Path:
    return api.run(tables_in(tmp_path_factory.mktemp("trained")), ["run.steps=2"]).path


@pytest.mark.parametrize("name", CALLS)
def test_writes_a_picture(command: Command, trained: Path, tmp_path: Path, name: str):
    out = tmp_path / "new" / "picture.png"
    ended = command(name, trained, "--out", out, "--seed", "5", *CALLS[name])
    assert (ended.code, ended.out, ended.err) == (0, f"{out}\n", "")
    with Image.open(out) as picture:
        assert picture.info["ganzoo:seed"] == "5"
        assert picture.info["ganzoo:weights"] == "raw"
    first = out.read_bytes()
    command(name, trained, "--out", out, "--seed", "5", *CALLS[name])
    assert out.read_bytes() == first


@pytest.mark.parametrize("name", ["interpolate", "direction"])
def test_writes_an_animation(command: Command, trained: Path, tmp_path: Path, name: str):
    out = tmp_path / "walk.gif"
    assert command(name, trained, "--out", out, "--steps", "3", "--rows", "2", *CALLS[name]).code == 0
    with Image.open(out) as animation:
        assert animation.n_frames == 4


def test_walks_between_cells(command: Command, trained: Path, tmp_path: Path):
    out = tmp_path / "walk.png"
    assert command("interpolate", trained, "--out", out, "--from", "3,4", "--to", "5,6", "--method", "linear").code == 0
    with Image.open(out) as picture:
        assert picture.size == (10 * 50 + 2, 2 * 50 + 2)
        assert (picture.info["ganzoo:from"], picture.info["ganzoo:method"]) == ("[3, 4]", "linear")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["latent-grid", "--out", "a.jpg"], "a.jpg: give a file that ends in .png"),
        (["latent-grid", "--out", "a.gif"], "a.gif: give a file that ends in .png"),
        (["latent-grid", "--out", "folder"], "folder: give a file that ends in .png"),
        (["interpolate", "--out", "a.mp4"], "a.mp4: give a file that ends in .png or .gif"),
        (["interpolate", "--out", "a.png", "--from", "3"], "give as many ends as starts"),
        (["interpolate", "--out", "a.png", "--from", "3", "--to", "100"], "cell 100 is not on the grid"),
        (["interpolate", "--out", "a.png", "--seeds", "3"], "needs two or more"),
        (["interpolate", "--out", "a.png", "--seeds", "3;4"], '--seeds "3;4": give whole numbers with commas'),
        (["arithmetic", "--out", "a.png", "--a", "1,2", "--b", "3", "--c", "4"], "a has 2, b has 1, c has 1"),
        (["arithmetic", "--out", "a.png", "--a", "", "--b", "3", "--c", "4"], '--a "": give whole numbers'),
        (["arithmetic", "--out", "a.png", "--a", "1", "--b", "-3", "--c", "4"], "cell -3 is not on the grid"),
        (["direction", "--out", "a.png", "--left", "1", "--right", "x"], '--right "x": give whole numbers'),
        (["direction", "--out", "a.png", "--left", "1", "--right", "2", "--label", "0"], "takes no labels"),
        (["interpolate", "--out", "a.png", "--rows", f"{10**16}"], f"{10**17} samples take "),
        (["interpolate", "--out", "a.png", "--from", "1", "--to", "2", "--steps", f"{10**16}"], " samples take "),
        (["direction", "--out", "a.png", "--left", "1", "--right", "2", "--steps", f"{10**16}"], " samples take "),
        (["latent-grid", "--out", "a.png", "--weights", "ema"], "keeps no average of the weights"),
        (["interpolate", "--out", "a.png", "--seeds", "-5,1"], f"seed is -5: seeds are from 0 to {2**63 - 1}"),
        (["interpolate", "--out", "a.png", "--seeds", f"1,{2**63}"], f"seed is {2**63}: seeds are from 0 to"),
        (["direction", "--out", "a.png", "--left", "1", "--right", "2", "--strength", "nan"], "--strength nan: makes"),
        (
            ["direction", "--out", "a.png", "--left", "1", "--right", "2", "--strength", "-inf"],
            "--strength -inf: makes",
        ),
        (
            ["direction", "--out", "a.png", "--left", "1", "--right", "2", "--strength", "1e39"],
            "--strength 1e+39: makes",
        ),
        (
            ["arithmetic", "--out", "a.png", "--a", "1", "--b", "2", "--c", "3", "--spread", "inf"],
            "--spread inf: makes",
        ),
    ],
)
def test_wrong_requests(
    command: Command, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
):
    monkeypatch.chdir(tmp_path)
    name, option, out, *others = arguments
    ended = command(name, trained, option, Path("new", out), *others)
    assert ended.code == 2
    assert ended.err.startswith("error: ")
    assert len(ended.err.splitlines()) == 1
    assert message in ended.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [*CALLS, "filters", "neighbors"])
def test_no_run_there(command: Command, tmp_path: Path, name: str):
    ended = command(name, tmp_path / "none", "--out", tmp_path / "new" / "a.png", *CALLS.get(name, []))
    assert ended.code == 2
    assert not (tmp_path / "new").exists()


def test_folder_that_cannot_be_made(command: Command, trained: Path, tmp_path: Path):
    (tmp_path / "file").write_text("")
    ended = command("latent-grid", trained, "--out", tmp_path / "file" / "a.png")
    assert ended.code == 2
    assert "cannot be made" in ended.err


def test_help_is_light():
    script = """
import sys
from ganzoo.cli.main import main
for name in ("latent-grid", "interpolate", "arithmetic", "direction", "filters", "neighbors", "overfitting", "probe"):
    sys.argv = ["ganzoo", name, "--help"]
    try:
        main()
    except SystemExit as stop:
        assert not stop.code, name
    assert not {"torch", "numpy", "sklearn", "wandb"} & sys.modules.keys(), name
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
