"""`ganzoo import`: what it prints, and that each wrong request is one error and exit code 2."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

Command = Callable[..., Any]


def state(width: int = 2, latents: int = 5, size: int = 16) -> dict[str, torch.Tensor]:
    """A generator in the keys of PyTorch's DCGAN tutorial, of 16 pixels."""
    drawn = torch.Generator().manual_seed(0)
    shapes = {"0": (latents, 4 * width, 4, 4), "3": (4 * width, 2 * width, 4, 4), "6": (2 * width, 3, 4, 4)}
    tensors = {f"main.{layer}.weight": torch.randn(shape, generator=drawn) for layer, shape in shapes.items()}
    for layer, channels in (("1", 4 * width), ("4", 2 * width)):
        tensors |= {f"main.{layer}.{name}": torch.ones(channels) for name in ("weight", "running_var")}
        tensors |= {f"main.{layer}.{name}": torch.zeros(channels) for name in ("bias", "running_mean")}
        tensors[f"main.{layer}.num_batches_tracked"] = torch.tensor(3)
    return tensors


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "generator.pth"
    torch.save({"netG": state(), "epoch": 3}, path)
    return path


def test_import_prints_what_went_where_and_the_run_last(command: Command, tmp_path: Path, source: Path):
    ended = command("import", source, "--out", tmp_path / "run")
    assert ended.code == 0, ended.err
    lines = ended.out.splitlines()
    assert lines[0] == "netG.main.0.weight               5×8×4×4  →  generator.blocks.0.0.weight"
    assert lines[5] == "netG.main.1.num_batches_tracked  scalar   →  generator.blocks.0.1.num_batches_tracked"
    assert lines[-1] == str(tmp_path / "run")
    assert len(lines) == len(state()) + 1
    assert "note: the file does not say what it was trained on" in ended.err
    assert "note: the file holds no discriminator" in ended.err


def test_imported_run_can_be_sampled_from(command: Command, tmp_path: Path, source: Path):
    run = tmp_path / "run"
    assert command("import", source, "--out", run, "--as", "dcgan_tutorial", "--set", "run.name=mine").code == 0
    assert 'name = "mine"' in (run / "recipe.toml").read_text()
    ended = command("sample", run, "--count", "4", "--out", tmp_path / "grid.png")
    assert ended.code == 0, ended.err
    assert (tmp_path / "grid.png").is_file()


def test_imported_run_cannot_be_resumed(command: Command, tmp_path: Path, source: Path):
    command("import", source, "--out", tmp_path / "run")
    ended = command("resume", tmp_path / "run")
    assert ended.code == 2
    assert "was imported" in ended.err


def test_importers_are_listed(command: Command):
    ended = command("list", "importers")
    assert ended.code == 0
    assert "dcgan_authors\timporter\tA folder of the DCGAN authors' weights" in ended.out
    assert "dcgan_tutorial\timporter\tA PyTorch state dict of the tutorials' DCGAN" in ended.out


class Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        import os

        return os.mkdir, (str(self.path),)


WRONG: dict[str, tuple[Callable[[Path], Any], tuple[str, ...], str]] = {
    "missing": (lambda path: path.unlink(), (), "there is no such file or folder to import"),
    "empty": (lambda path: path.write_bytes(b""), (), "no importer knows this form"),
    "text": (lambda path: path.write_text("hello"), (), "no importer knows this form"),
    "folder of nothing": (lambda path: (path.unlink(), path.mkdir()), (), "no importer knows this form"),
    "plain pickle": (lambda path: path.write_bytes(pickle.dumps({})), (), "no importer knows this form"),
    "code": (
        lambda path: torch.save({"netG": state(), "x": Trap(path.parent / "ran")}, path),
        (),
        "holds more than tensors and plain values",
    ),
    "damaged": (lambda path: path.write_bytes(path.read_bytes()[:2000]), (), "is damaged"),
    "extra key": (
        lambda path: torch.save(state() | {"fc.weight": torch.zeros(1)}, path),
        (),
        "does not have: fc.weight",
    ),
    "other type": (lambda path: torch.save({k: v.half() for k, v in state().items()}, path), (), "torch.float16"),
    "importer of another form": (lambda path: None, ("--as", "dcgan_authors"), "dcgan_authors: is no folder"),
    "importer unknown": (lambda path: None, ("--as", "keras"), 'there is no importer "keras"'),
    "option unknown": (lambda path: None, ("--set", "generator.wide=3"), "generator.wide: there is no such key"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_request_is_one_error(command: Command, tmp_path: Path, source: Path, case: str):
    spoil, options, told = WRONG[case]
    spoil(source)
    ended = command("import", source, "--out", tmp_path / "run", *options)
    assert ended.code == 2, ended.err
    assert ended.out == ""
    assert ended.err.startswith("error: ")
    assert "Traceback" not in ended.err
    assert told in ended.err
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "ran").exists()


def test_out_in_use_is_an_error(command: Command, tmp_path: Path, source: Path):
    ended = command("import", source, "--out", tmp_path)
    assert ended.code == 2
    assert ended.err == f"error: --out {tmp_path}: is a folder with files in it; name one that is not there yet\n"
