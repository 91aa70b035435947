"""Scripts of benchmarks/: what they cannot do is told in words, before anything is trained or overwritten."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SPEEDRUN = ROOT / "benchmarks" / "speedrun"

Run = Callable[..., str]


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a script with these arguments, and return how it ended in words."""
    for folder in (ROOT / "benchmarks", SPEEDRUN):
        monkeypatch.syspath_prepend(str(folder))

    def run(script: str, *arguments: str | Path) -> str:
        monkeypatch.setattr(sys, "argv", [f"{script}.py", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            importlib.import_module(script).main()
        return str(ended.value.code) + capsys.readouterr().err

    return run


@pytest.mark.parametrize(
    ("script", "arguments", "told"),
    [
        ("judge", ["score", "gone.npy"], "No such file or directory: 'gone.npy'"),
        ("judge", ["floor", "--root", "gone"], "Dataset not found"),
        ("judge", ["train", "--root", "gone"], "the following arguments are required: --out"),
        ("record", ["rec", "--root", "gone"], "--root gone: has no folder MNIST/raw"),
        ("record", ["rec", "--root", "gone", "--only", "baselines-0"], "--only baselines-0: names no run"),
        ("cards", ["measure"], "measure takes names of recipes, and write none"),
        ("cards", ["write", "dcgan_digits"], "measure takes names of recipes, and write none"),
        ("cards", ["measure", "dcgan_digit"], "there is no recipes/dcgan_digit.toml"),
        ("zoo_digits", ["picture", "--runs", "gone"], "has no complete run, such as `zoo_digits.py run --only "),
        ("mnist_converged", ["picture", "--runs", "gone"], "gone: has no pictures of seed 0"),
        ("mnist_converged", ["plot", "--results", "gone.jsonl"], "there are no records of seed 0"),
        ("devices", ["--accelerator", "cpu", "--only", "fp23"], "--only fp23: the rows are fp32; bf16"),
        ("devices", ["--rounds", "1"], "--rounds 1: give 2 or more"),
        ("modulated_convolution", ["--size", "3"], "--size 3: give a power of two from 4 on"),
    ],
)
def test_wrong_requests(
    refused: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, arguments: list[str], told: str
):
    monkeypatch.chdir(tmp_path)
    assert told in refused(script, *arguments)
    assert list(tmp_path.iterdir()) == []


def test_the_frozen_judge_is_not_written_over(refused: Run):
    file = SPEEDRUN / "judge.safetensors"
    before = file.read_bytes()
    assert "is there already" in refused("judge", "train", "--root", "gone", "--out", file)
    assert file.read_bytes() == before


def test_a_new_recipe_without_a_card(refused: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    cards = importlib.import_module("cards")
    known = json.loads(cards.CARDS.read_text(encoding="utf-8"))
    del known["dcgan_digits"]
    (tmp_path / "cards.json").write_text(json.dumps(known), encoding="utf-8")
    monkeypatch.setattr(cards, "CARDS", tmp_path / "cards.json")
    before = {path: path.read_bytes() for path in cards.recipes()}
    assert "cards.json has no dcgan_digits: measure them, or add a row" in refused("cards", "write")
    assert before == {path: path.read_bytes() for path in cards.recipes()}


def test_precisions_are_compared_under_one_request(refused: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    quality = importlib.import_module("bf16_quality")
    out = tmp_path / "quality.json"
    asked = {"recipe": "a.toml", "overrides": ["run.steps=2"], "samples": 8, "image_size": None}
    runs = {f"{precision} seed 0": {"scores": {"modes": value}} for precision, value in (("fp32", 8.0), ("bf16", 7.5))}
    out.write_text(json.dumps({"of": asked, "runs": runs}))
    same = ["a.toml", "--set", "run.steps=2", "--samples", "8", "--seeds", "1", "--out", out]
    assert "holds the figures of {'recipe': 'a.toml'" in refused("bf16_quality", *same, "--image-size", "28")
    sys.argv[1:] = [*map(str, same)]
    quality.main()
    assert capsys.readouterr().out.splitlines()[1].split() == ["modes", "8.000", "7.500", "-0.500", "0.000", "differs"]
