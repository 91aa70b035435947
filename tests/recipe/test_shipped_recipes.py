"""Every recipe that ships: it says what it is for and how to run it, passes the check, and trains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import ganzoo
from ganzoo.components.spec import DatasetInfo, LabelSpec, VectorSpec
from ganzoo.recipe.load import load_recipe, parse_recipe, read_toml
from ganzoo.recipe.model import Recipe
from ganzoo.registry.plugin_manager import PluginManager
from ganzoo.training.fit import expected_tensors

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "recipes").glob("**/*.toml"))

HEAVY = {
    "stylegan2_image_folder",
    "fastgan_images",
    "fastgan_freezed",
    "cyclegan_image_folders",
    "projected_images",
}
"""Recipes of which two steps take seconds, however narrow the networks."""

NARROW = {"width": 4, "channel_base": 1024, "max_channels": 8, "style_dim": 16}
"""Options of networks that say how wide they are."""

every_recipe = pytest.mark.parametrize("path", RECIPES, ids=[path.relative_to(ROOT).as_posix() for path in RECIPES])


def test_there_are_recipes() -> None:
    assert len(RECIPES) >= 10


@every_recipe
def test_opens_with_its_purpose_and_the_command_that_runs_it(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    header = lines[: next(index for index, line in enumerate(lines) if not line.startswith("#"))]
    purpose = header[0].removeprefix("# ")
    assert len(purpose) > 30
    assert header.count(f"#   ganzoo run {path.relative_to(ROOT).as_posix()}") == 1
    assert all(len(line) <= 120 for line in lines)


@every_recipe
def test_passes_the_check_and_requires_the_plugins_it_uses(path: Path, manager: PluginManager) -> None:
    recipe, _ = load_recipe(path, manager)
    assert path.stem == recipe.run.name.replace("-", "_"), "a run is easiest found under its recipe's name"
    assert distributions_used(recipe, manager) <= {*recipe.plugins.requires, "ganzoo-core"}


@every_recipe
def test_resolves_to_itself(path: Path, manager: PluginManager) -> None:
    resolved = load_recipe(path, manager)[0].to_dict()
    assert parse_recipe(resolved, manager).to_dict() == resolved


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=[pytest.mark.slow] if path.stem in HEAVY else []) for path in RECIPES],
    ids=lambda path: path.relative_to(ROOT).as_posix(),
)
def test_trains_for_two_steps(path: Path, tmp_path: Path, manager: PluginManager) -> None:
    tables = in_miniature(read_toml(path), load_recipe(path, manager)[0], tmp_path)
    trained = ganzoo.run(tables, manager=manager)
    assert trained.metrics[-1]["step"] == 2
    shape = load_recipe(path, manager)[0].dataset.sample_spec().shape
    assert trained.sample(2).shape[1:] == shape


@pytest.mark.parametrize("path", [path for path in RECIPES if "stylegan2" in path.stem], ids=lambda path: path.stem)
def test_networks_of_stylegan2_can_be_as_wide_as_it_says(path: Path, manager: PluginManager) -> None:
    """Built without values: even two steps of them take a minute."""
    recipe, _ = load_recipe(path, manager)
    found = expected_tensors(recipe, manager, info_of(recipe))
    assert found.keys() == set(recipe.trainer.roles)
    assert all(len(tensors) > 2 for tensors in found.values())
    assert {tensor.device.type for tensors in found.values() for tensor in tensors.values()} == {"meta"}


def info_of(recipe: Recipe) -> DatasetInfo:
    """What its dataset has, with labels of the kind and number that the recipe's networks may ask for."""
    labels = LabelSpec.classes(map(str, range(10)))
    return DatasetInfo(recipe.dataset.sample_spec(), labels, condition=recipe.dataset.condition_spec())


def in_miniature(tables: dict[str, Any], recipe: Recipe, root: Path) -> dict[str, Any]:
    """The recipe's tables with made-up images of the same size, narrow networks and two steps of few images."""
    image = recipe.dataset.sample_spec()
    batch = 4
    extractors = tables.get("evaluation", {}).get("extractors", [])
    if any(extractor["name"] == "stacked_digits" for extractor in extractors):
        del tables["evaluation"]  # it classifies triples of digits, and made-up images are none
    tables["run"] |= {"root": str(root / "runs")}
    tables["run"].pop("epochs", None)
    tables["run"]["steps"] = 2
    tables["device"] = {**tables.get("device", {}), "accelerator": "cpu", "compile": False}
    if isinstance(image, VectorSpec):
        tables["dataset"]["count"] = 64
    else:
        tables["dataset"] = {
            "name": "synthetic",
            "image_size": image.height,
            "channels": image.channels,
            "count": 64,
        }
    if recipe.dataset.condition_spec() is not None:
        made_up = {"name": "synthetic", "count": tables["dataset"].pop("count")}
        pairing = "unpaired" if recipe.dataset.pairing == "unpaired" else "aligned"
        tables["dataset"] |= {"name": "derived_pairs", "source": made_up, "pairing": pairing}
    tables.get("init", {}).pop("from", None)
    for name in ("generator", "discriminator"):
        fields = type(getattr(recipe, name)).model_fields
        tables[name] |= {key: value for key, value in NARROW.items() if key in fields}
        if "weights" in fields:
            tables[name]["weights"] = "random"  # instead of a download
    tables["trainer"]["batch_size"] = batch
    if "micro_batch_size" in tables["trainer"]:
        tables["trainer"]["micro_batch_size"] = batch // 2
    tables["samples"] = {**tables.get("samples", {}), "count": 4}
    tables["tracking"] = {"wandb": {"mode": "disabled"}}
    return tables


def distributions_used(recipe: Recipe, manager: PluginManager) -> set[str]:
    """Where the recipe's parts come from."""
    registries = manager.registries
    entries = [
        registries.datasets[recipe.dataset.name],
        registries.generators[recipe.generator.name],
        registries.discriminators[recipe.discriminator.name],
        registries.losses[recipe.loss.name],
        registries.trainers[recipe.trainer.name],
        *(registries.penalties[penalty.name] for penalty in recipe.penalties),
    ]
    distributions = {str(plugin): plugin.distribution for plugin in manager.plugins}
    return {distributions[entry.plugin] for entry in entries}
