"""`recipe check` on StyleGAN2 without what it needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from test_training import tables

from ganzoo.recipe.load import load_recipe
from ganzoo.recipe.validate import lint
from ganzoo.registry.plugin_manager import PluginManager

ROOT = Path(__file__).parents[3]
MANAGER = PluginManager()


def problems(source: Any, *overrides: tuple[str, Any]) -> dict[str, str]:
    recipe, manager = load_recipe(source, MANAGER, list(overrides))
    return {problem.path: problem.message for problem in lint(recipe, manager) if problem.path}


@pytest.mark.parametrize("name", ["cifar10", "image_folder", "mnist"])
def test_the_shipped_recipes_have_no_warnings(name: str) -> None:
    assert problems(ROOT / "recipes" / f"stylegan2_{name}.toml") == {}


@pytest.mark.parametrize(
    ("key", "value", "path"),
    [
        ("trainer.ema_buffers", "average", "trainer.ema_buffers"),
        ("trainer.generator_optimizer.betas", [0.5, 0.99], "trainer.generator_optimizer.betas"),
        ("device.precision", "fp16", "device.precision"),
        ("generator.sampling.truncation", 0.7, "generator.sampling.truncation"),
        ("trainer.batch_size", 6, "discriminator.minibatch_stddev"),
        ("penalties", [], "penalties"),
    ],
)
def test_what_stylegan2_is_not_trained_with_is_a_warning(key: str, value: Any, path: str, tmp_path: Path) -> None:
    assert list(problems(tables(tmp_path), (key, value))) == [path]


def test_no_average_is_a_warning(tmp_path: Path) -> None:
    options = tables(tmp_path)
    for name in ("ema_half_life", "ema_ramp", "ema_buffers"):
        del options["trainer"][name]
    assert "ema_ramp = 0.05" in problems(options)["trainer.ema_half_life"]
