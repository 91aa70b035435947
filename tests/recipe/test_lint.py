"""Warnings: those that are due, none on the recipes that ship, and those of plugins."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ganzoo.components.options import TrainerConfig
from ganzoo.errors import Problem, RecipeError
from ganzoo.recipe.load import load_recipe
from ganzoo.recipe.model import Recipe
from ganzoo.recipe.validate import lint
from ganzoo.registry.hookspecs import hookimpl
from ganzoo.registry.plugin_manager import PluginManager

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.toml"))
SPECTRAL = {"discriminator": {"name": "sngan", "width": 4}}
DUE: dict[str, tuple[str, dict[str, Any], str]] = {
    "gradient penalty and batch norm": (
        "penalties.0",
        {"penalties": [{"name": "gradient_penalty"}]},
        "makes every logit depend on the whole batch",
    ),
    "DRAGAN and batch norm": ("penalties.0", {"penalties": [{"name": "dragan"}]}, "the whole batch"),
    "R1 and batch norm": ("penalties.0", {"penalties": [{"name": "r1"}]}, "the whole batch"),
    "clipping and spectral norm": (
        "penalties.0",
        {**SPECTRAL, "loss": {"name": "wasserstein"}, "penalties": [{"name": "weight_clipping"}]},
        "bounds nothing that is not bounded already",
    ),
    "a critic without bounds": ("loss", {"loss": {"name": "wasserstein"}}, "nothing keeps the critic's logits"),
    "R3GAN without R2": (
        "penalties",
        {"discriminator": {"name": "r3gan", "width": 8}, "penalties": [{"name": "r1"}]},
        "has no r2: ",
    ),
    "an average longer than the run": (
        "trainer.ema_decay",
        {"trainer": {"name": "adversarial", "ema_decay": 0.999}},
        "averages over 1000 steps",
    ),
    "a half-life longer than the run": (
        "trainer.ema_half_life",
        {"trainer": {"name": "adversarial", "batch_size": 8, "ema_decay": 0.0, "ema_half_life": 8000}},
        "averages over 1443 steps",
    ),
    "an average by half-life that never begins": (
        "trainer.ema_start",
        {"trainer": {"name": "adversarial", "ema_decay": 0.0, "ema_half_life": 8, "ema_start": 100}},
        "never begins",
    ),
    "an average that never begins": (
        "trainer.ema_start",
        {"trainer": {"name": "adversarial", "ema_decay": 0.5, "ema_start": 100}},
        "never begins",
    ),
    "a start of an average that is not kept": (
        "trainer.ema_start",
        {"trainer": {"name": "adversarial", "ema_decay": 0.0, "ema_start": 100}},
        "has no effect without an average",
    ),
    "a best score without evaluation": (
        "checkpoint.best",
        {"checkpoint": {"best": "fd_classifier"}},
        "needs scores while training: set evaluation.every",
    ),
    "a best score that is misspelled": (
        "checkpoint.best",
        {"checkpoint": {"best": "divrsity"}, "evaluation": {"every": 50, "samples": 4, "metrics": ["diversity"]}},
        'takes no score "divrsity", did you mean diversity?; it takes: diversity',
    ),
    "a best score that is not taken": (
        "checkpoint.best",
        {"checkpoint": {"best": "fid"}, "evaluation": {"every": 50, "samples": 4, "metrics": ["diversity"]}},
        'takes no score "fid"; it takes: diversity',
    ),
    "a schedule that ends before it starts, by another unit": (
        "penalties.0.weight",
        {"penalties": [{"name": "r2", "weight": {"from": 1, "to": 2, "start": 0.5, "until": "1 images"}}], **SPECTRAL},
        "jumps to its second value at once: its until comes before its start in this run",
    ),
}


@pytest.mark.parametrize("case", DUE)
def test_due(
    case: str, tables: dict[str, Any], recipe_file: Callable[..., Path], command: Callable[..., Any], tmp_path: Path
):
    """Each is told with its reason by `recipe check` and when the run starts, and keeps neither from going on."""
    path, changes, reason = DUE[case]
    file = recipe_file({**tables, **changes})
    checked = command("recipe", "check", file)
    warnings = [line for line in checked.err.splitlines() if line.startswith(f"warning: {path}: ")]
    assert len(warnings) == 1, checked.err
    assert reason in warnings[0]
    assert checked.out == f"{file}: nothing wrong\n"
    started = command(
        "run", file, "--set", "run.steps=1", "--set", "trainer.batch_size=4", "--set", f"run.root={tmp_path}"
    )
    assert started.code == 0
    assert f"warning: {path}: " in started.err


def test_fp16_with_a_trainer_that_does_not_scale(
    tables: dict[str, Any], parse: Callable[..., Recipe], manager: PluginManager
):
    """Such a trainer is a stranger's: those here all scale their losses, and are not warned of."""
    recipe = parse(tables, "device.precision=fp16")
    assert lint(recipe, manager) == []
    bare = recipe.model_copy(update={"trainer": TrainerConfig(name="bare")})
    (problem,) = lint(bare, manager)
    assert problem.path == "device.precision"
    assert 'the trainer "bare" does not scale its losses' in problem.message


def test_spectral_norm_bounds_a_critic(tables: dict[str, Any], parse: Callable[..., Recipe], manager: PluginManager):
    assert lint(parse({**tables, **SPECTRAL, "loss": {"name": "wasserstein"}}), manager) == []


@pytest.mark.parametrize(
    ("path", "changes"),
    [
        ("generator", {"generator": {"name": "cgan"}}),
        ("discriminator", {"discriminator": {"name": "cgan"}}),
        ("penalties.0", {"penalties": [{"name": "auxiliary_classifier"}], "generator": {"name": "cgan"}}),
    ],
)
def test_labels_asked_of_unlabeled_data(path: str, changes: dict[str, Any], tables: dict[str, Any], parse: Any):
    """No run can come of it, so it is an error, before a single image is decoded."""
    changes["dataset"] = {"name": "image_folder", "image_size": 32}
    with pytest.raises(RecipeError) as told:
        parse({**tables, **changes})
    name = changes[path.partition(".")[0]]
    name = (name[0] if isinstance(name, list) else name)["name"]
    (problem,) = (each for each in told.value.problems if each.path == path)
    assert str(problem) == f'{path}: "{name}" needs labels, and the dataset "image_folder" has none as it is set up'
    parse({**tables, **changes}, "dataset.labels=folders")


@pytest.mark.parametrize("path", ["dcgan", "dcgan_authors", "dcgan_authors_mnist"])
def test_batch_norm_is_known_where_it_is_no_option(path: str, manager: PluginManager):
    assert manager.registries.discriminators[path].config(name=path).mixes_batch


def test_layer_norm_under_a_penalty_is_right(
    tables: dict[str, Any], parse: Callable[..., Recipe], manager: PluginManager
):
    tables["penalties"] = [{"name": "gradient_penalty"}]
    tables["loss"] = {"name": "wasserstein"}
    assert lint(parse(tables, "discriminator.norm=layer"), manager) == []


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_no_warning_of_what_ships(path: Path, manager: PluginManager):
    assert lint(load_recipe(path, manager)[0], manager) == []


def test_of_a_plugin_and_of_one_that_fails(tables: dict[str, Any], parse: Callable[..., Recipe]):
    class Careful:
        @hookimpl
        def lint_recipe(self, recipe: Recipe) -> list[Problem | str]:
            return ["mind the step", Problem("run.steps", "few")]

    class Plain:
        @hookimpl
        def lint_recipe(self) -> str:
            return "one text"

    class Failing:
        @hookimpl
        def lint_recipe(self) -> list[Problem | str]:
            raise RuntimeError("boom")

    manager = PluginManager()
    manager.pluggy.register(Careful(), name="careful")
    manager.pluggy.register(Plain(), name="plain")
    manager.pluggy.register(Failing(), name="failing")
    told = [str(problem) for problem in lint(parse(tables), manager)]
    assert {"mind the step", "run.steps: few", "one text"} <= set(told)
    assert "the lint of the plugin failing failed: RuntimeError: boom" in told


def test_order_is_pluggys_own(tables: dict[str, Any], parse: Callable[..., Recipe]):
    class Normal:
        def __init__(self, text: str) -> None:
            self.text = text

        @hookimpl
        def lint_recipe(self) -> list[Problem | str]:
            return [self.text]

    class First(Normal):
        @hookimpl(tryfirst=True)
        def lint_recipe(self) -> list[Problem | str]:
            return [self.text]

    class Last(Normal):
        @hookimpl(trylast=True)
        def lint_recipe(self) -> list[Problem | str]:
            return [self.text]

    manager = PluginManager()
    for plugin in (Normal("third"), First("first"), Last("last"), Normal("second")):
        manager.pluggy.register(plugin)
    told = [str(problem) for problem in lint(parse(tables), manager)]
    assert [text for text in told if text in ("first", "second", "third", "last")] == told[:3] + told[-1:]
    assert told[:3] + told[-1:] == ["first", "second", "third", "last"]
