"""Samples of any shape through every command: run, resume, sample, evaluate, export, compare."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ganzoo_export import export_run
from PIL import Image

import ganzoo
from ganzoo import api
from ganzoo.errors import GanzooError

Command = Callable[..., Any]

PLUGIN = """
import math

import numpy as np
from torch import nn

from ganzoo.plugin import (
    Dataset, Discriminator, Generator, ImageDatasetConfig, Metric, MetricConfig, VectorDatasetConfig, hookimpl,
)


class ArraysConfig(ImageDatasetConfig):
    dtype: str = "uint8"


class Arrays(Dataset):
    Config = ArraysConfig

    def fingerprint(self):
        return ()

    def open(self):
        channels, height, width = self.config.sample_spec().shape
        drawn = np.random.default_rng(0).random((48, height, width, channels))
        if self.config.dtype == "float32":
            return [(2 * image.astype(np.float32) - 1, None) for image in drawn]
        return [((image * np.iinfo(self.config.dtype).max).astype(self.config.dtype), None) for image in drawn]


class Points(Dataset):
    Config = VectorDatasetConfig

    def fingerprint(self):
        return ()

    def open(self):
        return [(each, None) for each in np.random.default_rng(0).normal(size=(48, self.config.size))]


class G(Generator):
    def __init__(self, config, *, info):
        super().__init__(config, info=info)
        self.shape = info.samples.shape
        self.net = nn.Linear(config.latent_dim, math.prod(self.shape))

    def forward(self, latents):
        return self.net(latents).tanh().view(-1, *self.shape)


class D(Discriminator):
    def __init__(self, config, *, info):
        super().__init__(config, info=info)
        self.net = nn.Linear(math.prod(info.samples.shape), 1)

    def forward(self, samples):
        return self.net(samples.flatten(1)).flatten()

    def features(self, samples):
        return [samples.flatten(1)]


class OffsetConfig(MetricConfig):
    '''How far the mean lies off.'''


class Offset(Metric):
    Config = OffsetConfig
    needs = frozenset({"pixels", "points"})
    directions = {"offset": "lower"}

    def compute(self, inputs):
        return {"offset": float((inputs.real.mean(0) - inputs.fake.mean(0)).norm())}


@hookimpl
def register_datasets(register):
    register("arrays", Arrays)
    register("cloud", Points)


@hookimpl
def register_architectures(register):
    register("flat", G)
    register("flat", D)


@hookimpl
def register_metrics(register):
    register("offset", Offset)
"""


def images(channels: int, height: int, width: int, dtype: str = "uint8") -> dict[str, Any]:
    return {"name": "arrays", "channels": channels, "image_size": [height, width], "dtype": dtype}


SHAPES: dict[str, tuple[dict[str, Any], tuple[int, ...], str | None]] = {
    "gray_alpha": (images(2, 8, 16), (2, 8, 16), "L"),
    "four": (images(4, 16, 8), (4, 16, 8), "RGBA"),
    "thirteen_16_bit": (images(13, 8, 8, "uint16"), (13, 8, 8), "RGB"),
    "floats": (images(3, 8, 12, "float32"), (3, 8, 12), "RGB"),
    "points": ({"name": "cloud", "size": 2}, (2,), "RGB"),
    "vectors": ({"name": "cloud", "size": 5}, (5,), None),
}


@pytest.fixture
def tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    (tmp_path / "shapes.py").write_text(PLUGIN)
    monkeypatch.setenv("GANZOO_TRUST_PLUGINS", "1")
    return {
        "run": {"name": "shapes", "steps": 4, "log_every": 2, "root": str(tmp_path / "runs")},
        "plugins": {"files": [str(tmp_path / "shapes.py")]},
        "generator": {"name": "flat", "latent_dim": 3},
        "discriminator": {"name": "flat"},
        "loss": {"name": "non_saturating"},
        "trainer": {"name": "adversarial", "batch_size": 8},
        "device": {"accelerator": "cpu", "precision": "fp32"},
        "checkpoint": {"every": 2},
        "samples": {"every": 2, "count": 6},
        "evaluation": {"samples": 32, "metrics": [{"name": "offset"}, {"name": "diversity"}]},
        "tracking": {"wandb": {"mode": "disabled"}},
    }


def mode_and_size(path: Path) -> tuple[str, tuple[int, int]]:
    with Image.open(path) as opened:
        return opened.mode, opened.size


@pytest.mark.slow
@pytest.mark.parametrize("name", SHAPES)
def test_whole_way(
    command: Command, tables: dict[str, Any], tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
):
    dataset, shape, mode = SHAPES[name]
    whole = ganzoo.run(tables | {"dataset": dataset})
    told = capsys.readouterr()
    assert "failed" not in told.err + told.out
    part = ganzoo.run(tables | {"dataset": dataset, "run": tables["run"] | {"steps": 2}})
    resumed = ganzoo.resume(part.path, {"run.steps": 4})
    assert (resumed.sample(8) == whole.sample(8)).all()

    size = None if mode is None else (512, 512) if len(shape) == 1 else (3 * (shape[2] + 2) + 2, 2 * (shape[1] + 2) + 2)
    for run in (whole, resumed):
        made = {file.name for file in run.directory.samples.iterdir()} if run.directory.samples.is_dir() else set()
        assert made == (set() if mode is None else {"step_0000002.png", "step_0000004.png", "evolution.gif"})
        if mode is not None:
            grid = mode_and_size(run.directory.samples / "step_0000004.png")
            assert grid == ("RGB" if mode == "L" else mode, size)
    assert told.err.count("no pictures of samples") == (mode is None)

    ended = command("--trust", "sample", whole.path, "--count", "6", "--out", tmp_path / "out.png")
    assert ended.code == 0, ended.err
    hidden = len(shape) == 1 or shape[0] not in (1, 3, 4)
    assert (tmp_path / "out.npy").is_file() == hidden
    assert (tmp_path / "out.png").is_file() == (mode is not None)
    assert command("--trust", "sample", whole.path, "--count", "6", "--out", tmp_path / "exact.npy").code == 0
    assert (np.load(tmp_path / "exact.npy") == whole.sample(6).numpy()).all()
    assert command("--trust", "sample", whole.path, "--count", "2", "--out", tmp_path / "single").code == 0
    single = {file.name for file in (tmp_path / "single").iterdir()}
    pictures = {"0000.png", "0001.png"} if len(shape) == 3 else {"samples.png"} if mode else set()
    assert single == pictures | ({"samples.npy"} if hidden else set())
    if len(shape) == 3:
        assert mode_and_size(tmp_path / "single/0000.png") == (mode, (shape[2], shape[1]))

    scores = api.evaluate(whole).scores
    assert {"offset", "diversity"} <= scores.keys()
    out = export_run(whole, tmp_path / "export")
    exported = api.load_run(out)
    assert (exported.sample(8) == whole.sample(8)).all()
    assert (out / "samples.png").is_file() == (mode is not None)
    page = tmp_path / "page.html"
    ended = command("--trust", "compare", whole.path, resumed.path, "--out", page)
    assert ended.code == 0, ended.err
    assert ("data:image/png" in page.read_text("utf-8")) == (mode is not None)


def test_numbers_beside_a_picture_are_not_written_over_others(tables: dict[str, Any], tmp_path: Path, command: Command):
    run = ganzoo.run(tables | {"dataset": images(13, 8, 8)})
    (tmp_path / "out.npy").write_bytes(b"mine")
    arguments = ["--trust", "sample", run.path, "--count", "1", "--out", tmp_path / "out.png"]
    refused = command(*arguments)
    assert (refused.code, (tmp_path / "out.npy").read_bytes()) == (2, b"mine")
    assert f"--out {tmp_path / 'out.npy'}: is there already" in refused.err
    assert not (tmp_path / "out.png").exists()
    assert command(*arguments, "--overwrite").code == 0
    assert np.load(tmp_path / "out.npy").shape == (1, 13, 8, 8)


def test_bands_are_chosen_and_checked(tables: dict[str, Any], tmp_path: Path, command: Command):
    tables |= {"dataset": images(13, 8, 8), "samples": {"bands": [12, 0, 5], "count": 1}}
    run = ganzoo.run(tables)
    assert command("--trust", "sample", run.path, "--count", "1", "--out", tmp_path / "one").code == 0
    shown = np.asarray(Image.open(tmp_path / "one/0000.png"))
    wanted = (np.load(tmp_path / "one/samples.npy")[0, [12, 0, 5]] + 1) * 127.5
    assert np.abs(shown - wanted.transpose(1, 2, 0)).max() <= 1
    for bands, told in (([13], "has 13; the channels are numbered from 0 to 12"), ([0, 1], "must be one, or three")):
        with pytest.raises(GanzooError, match=told):
            ganzoo.run(tables | {"samples": {"bands": bands}})


def test_rectangles_are_evaluated_at_a_size_of_their_proportions(tables: dict[str, Any]):
    run = ganzoo.run(tables | {"dataset": images(3, 8, 16)})
    (card,) = (each.card for each in api.evaluate(run, overrides={"evaluation.image_size": [4, 8]}).evaluations[0])
    assert card.real.shape == "3×4×8"
    with pytest.raises(GanzooError, match=r"must have the proportions of the images, which are 3×8×16: .* \[8, 16\]"):
        api.evaluate(run, image_size=8)
    with pytest.raises(GanzooError, match="is for images, and the samples are vectors"):
        ganzoo.run(tables | {"dataset": {"name": "cloud"}, "evaluation": {"image_size": 8}})
