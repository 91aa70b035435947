"""`ganzoo sample`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ganzoo import api
from ganzoo.sampling.trained_run import TrainedRun

Command = Callable[..., Any]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tables_in: Callable[[Path], dict]) -> TrainedRun:
    return api.run(tables_in(tmp_path_factory.mktemp("trained")), ["run.steps=2", "checkpoint.every=1"])


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_grid(command: Command, trained: TrainedRun, tmp_path: Path):
    out = tmp_path / "new" / "grid.png"
    ended = command("sample", trained.path, "--count", "6", "--seed", "5", "--out", out)
    assert (ended.code, ended.out) == (0, f"{out}\n")
    grid = pixels(out)
    assert grid.shape == (2 * 18 + 2, 3 * 18 + 2, 3)
    image = (trained.sample(6, seed=5)[4].permute(1, 2, 0).numpy() + 1) * 127.5
    assert np.abs(grid[20:36, 20:36] - image).max() <= 1


def test_folder_of_single_images(command: Command, trained: TrainedRun, tmp_path: Path):
    out = tmp_path / "images"
    assert command("sample", trained.path, "--count", "3", "--out", out).code == 0
    assert sorted(file.name for file in out.iterdir()) == ["0000.png", "0001.png", "0002.png"]
    assert pixels(out / "0000.png").shape == (16, 16, 3)


def test_progress_where_it_takes_long(
    command: Command, trained: TrainedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("ganzoo.terminal.QUIET_SECONDS", 0.0)
    told = command("sample", trained.path, "--count", "70", "--out", tmp_path / "images").err.splitlines()
    assert told == ["making images 64/70", "making images 70/70", "writing images 1/70", "writing images 70/70"]


def test_same_seed_same_bytes(command: Command, trained: TrainedRun, tmp_path: Path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        command("sample", trained.path, "--count", "4", "--seed", seed, "--out", tmp_path / f"{name}.png")
    a, b, c = ((tmp_path / f"{name}.png").read_bytes() for name in "abc")
    assert a == b
    assert a != c


def test_picture_says_how_it_was_made(command: Command, trained: TrainedRun, tmp_path: Path):
    command("sample", trained.path, "--count", "4", "--seed", "7", "--out", tmp_path / "a.png")
    about = Image.open(tmp_path / "a.png").info
    assert about["ganzoo:seed"] == "7"
    assert about["ganzoo:step"] == "2"
    assert about["ganzoo:weights"] == "raw"
    assert about["ganzoo:batch_norm"] == "running"


def test_a_folder_with_a_dot(command: Command, trained: TrainedRun, tmp_path: Path):
    (tmp_path / "v1.0").mkdir()
    assert command("sample", trained.path, "--count", "2", "--out", tmp_path / "v1.0").code == 0
    assert sorted(path.name for path in (tmp_path / "v1.0").iterdir()) == ["0000.png", "0001.png"]


def test_of_an_earlier_step(command: Command, trained: TrainedRun, tmp_path: Path):
    for step in ("1", "2"):
        assert command("sample", trained.path, "--step", step, "--out", tmp_path / f"{step}.png").code == 0
        assert Image.open(tmp_path / f"{step}.png").info["ganzoo:step"] == step
    assert not np.array_equal(pixels(tmp_path / "1.png"), pixels(tmp_path / "2.png"))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--out", "{tmp}/a.png", "--step", "3"], "there is no checkpoint of step 3; there are those of 1, 2"),
        (["--out", "{tmp}/a.jpg"], "give a file that ends in .png or .npy, or a folder; one with a dot must be there"),
        (["--out", "{tmp}/file/a.png"], "cannot be made"),
        (["--out", "{tmp}/file"], "is there already"),
        (["--out", "{tmp}/file", "--overwrite"], "cannot be made"),
        (["--out", "{tmp}/new/deep/a.png", "--labels", "1,2"], 'the generator "dcgan" takes no labels'),
        (["--out", "{tmp}/new", "--labels", "cat"], 'the generator "dcgan" takes no labels'),
        (["--out", "{tmp}/new", "--weights", "ema"], "keeps no average of the weights"),
        (["--out", "{tmp}/a.png", "--count", "0"], "Invalid value for '--count'"),
        (["--out", "{tmp}/a.png", "--count", f"{10**16}"], f"{10**16} samples take "),
        (["--out", "{tmp}/a.png", "--weights", "best"], "Invalid value for '--weights'"),
        ([], "Missing option '--out'"),
    ],
)
def test_wrong_requests(command: Command, trained: TrainedRun, tmp_path: Path, options: list[str], told: str):
    (tmp_path / "file").write_text("in the way")
    ended = command("sample", trained.path, *(option.format(tmp=tmp_path) for option in options))
    assert ended.code == 2
    assert told in ended.err
    assert "Traceback" not in ended.err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_run_that_is_not_there_leaves_no_folder(command: Command, tmp_path: Path):
    ended = command("sample", tmp_path / "gone", "--out", tmp_path / "images")
    assert ended.code == 2
    assert list(tmp_path.iterdir()) == []
