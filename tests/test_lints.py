"""Warnings: those that are due, none on the recipes that ship, and those of plugins."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ganzoo.errors import Problem
from ganzoo.hookspecs import hookimpl
from ganzoo.lints import lint
from ganzoo.plugin_manager import PluginManager
from ganzoo.recipe import Recipe, load_recipe

RECIPES = sorted((Path(__file__).parents[1] / "recipes").glob("dcgan*.toml"))
DUE = {
    "penalties.0": {"penalties": [{"name": "gradient_penalty"}]},
    "loss": {"loss": {"name": "wasserstein"}},
    "trainer.ema_decay": {"trainer": {"name": "adversarial", "ema_decay": 0.999}},
    "trainer.ema_start": {"trainer": {"name": "adversarial", "ema_decay": 0.5, "ema_start": 100}},
}


@pytest.mark.parametrize("path", DUE)
def test_due(path: str, tables: dict[str, Any], parse: Callable[..., Recipe], manager: PluginManager):
    assert path in [problem.path for problem in lint(parse({**tables, **DUE[path]}), manager)]


@pytest.mark.parametrize("path", ["dcgan", "dcgan_authors", "dcgan_authors_mnist"])
def test_batch_norm_is_known_where_it_is_no_option(path: str, manager: PluginManager):
    assert manager.registries.discriminators[path].config(name=path).couples_images


def test_layer_norm_under_a_penalty_is_right(
    tables: dict[str, Any], parse: Callable[..., Recipe], manager: PluginManager
):
    tables["penalties"] = [{"name": "gradient_penalty"}]
    tables["loss"] = {"name": "wasserstein"}
    assert lint(parse(tables, "discriminator.norm=layer"), manager) == []


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_no_warning_of_what_ships(path: Path, manager: PluginManager):
    assert lint(load_recipe(path, manager), manager) == []


def test_of_a_plugin_and_of_one_that_fails(tables: dict[str, Any], parse: Callable[..., Recipe]):
    class Careful:
        @hookimpl
        def lint_recipe(self, recipe: Recipe) -> list[Problem | str]:
            return ["mind the step", Problem("run.steps", "few")]

    class Failing:
        @hookimpl
        def lint_recipe(self) -> list[Problem | str]:
            raise RuntimeError("boom")

    manager = PluginManager()
    manager.pluggy.register(Careful(), name="careful")
    manager.pluggy.register(Failing(), name="failing")
    told = [str(problem) for problem in lint(parse(tables), manager)]
    assert {"mind the step", "run.steps: few"} <= set(told)
    assert "the lint of the plugin failing failed: RuntimeError: boom" in told
