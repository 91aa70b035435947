"""Truncation and noise in `sample`, `interpolate`, `evaluate` and their records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from test_training import tables
from typer.testing import CliRunner

from ganzoo import api
from ganzoo.cli.main import app
from ganzoo.errors import RecipeError, RequestError
from ganzoo.evaluation.protocol import differences
from ganzoo.sampling.trained_run import TrainedRun

HALF = "generator.sampling.truncation=0.5"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    folder = tmp_path_factory.mktemp("runs")
    options = tables(folder, evaluation={"samples": 40, "metrics": ["diversity"]})
    options["run"]["steps"] = 3
    return api.run(options)


def command(*arguments: Any) -> str:
    result = CliRunner().invoke(app, [*map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.output


def test_truncated_samples_are_nearer_to_that_of_the_mean_style(trained: TrainedRun) -> None:
    whole, half, mean = (
        trained.sampled_with({"generator.sampling.truncation": psi, "generator.sampling.noise": "none"}).sample(8)
        for psi in (1.0, 0.5, 0.0)
    )
    assert (half - mean).abs().mean() < (whole - mean).abs().mean()
    assert torch.equal(mean, mean[:1].expand_as(mean))
    assert torch.equal(trained.sampled_with({}).sample(8), trained.sample(8))


def test_sample_and_interpolate_take_the_options_and_note_them(trained: TrainedRun, tmp_path: Path) -> None:
    out = tmp_path / "half.png"
    command("sample", trained.path, "--out", out, "--count", 4, "--set", HALF)
    assert Image.open(out).info["ganzoo:sampling"] == "{'truncation': 0.5}"
    command("sample", trained.path, "--out", tmp_path / "half.npy", "--count", 4, "--set", HALF)
    command("sample", trained.path, "--out", tmp_path / "whole.npy", "--count", 4)
    assert (tmp_path / "half.npy").read_bytes() != (tmp_path / "whole.npy").read_bytes()
    command("interpolate", trained.path, "--out", tmp_path / "walk.png", "--rows", 1, "--steps", 3, "--set", HALF)
    assert Image.open(tmp_path / "walk.png").info["ganzoo:sampling"] == "{'truncation': 0.5}"


def test_scores_with_other_truncations_do_not_compare(trained: TrainedRun) -> None:
    plain, half = (
        api.evaluate(trained, overrides=changes).evaluations[0][0] for changes in ({}, {HALF.split("=")[0]: 0.5})
    )
    assert plain.card.samples.options == {}
    assert half.card.samples.options == {"truncation": 0.5}
    assert [each.field for each in differences([plain.card, half.card])] == ["samples.options.truncation"]
    assert half.scores != plain.scores


def test_random_noise_comes_from_the_seed(trained: TrainedRun) -> None:
    random = trained.sampled_with({"generator.sampling.noise": "random"})
    with torch.no_grad():
        for layer in random.generator.layers:
            layer.noise_strength.fill_(0.5)
    assert torch.equal(random.sample(4), random.sample(4))
    latents, labels = random.latents(4), random.labels(4)
    assert not torch.equal(random.images(latents, labels), random.images(latents, labels, seed=1))


@pytest.mark.parametrize(
    ("key", "error", "message"),
    [
        ("generator.style_dim", RequestError, "only how samples are made can be set here"),
        ("generator.sampling.psi", RecipeError, "psi"),
        ("generator.sampling.truncation", RecipeError, "truncation"),
    ],
)
def test_other_options_are_refused(trained: TrainedRun, key: str, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        trained.sampled_with({key: -1})
