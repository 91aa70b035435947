"""The options of the datasets: documented, and sensible by default."""

from __future__ import annotations

from typing import Any

import pytest

from ganzoo.components.descriptions import descriptions
from ganzoo.errors import RecipeError
from ganzoo.recipe.load import load_recipe
from ganzoo.recipe.validate import lint
from ganzoo.registry.plugin_manager import plugin_manager

# What a recipe that names nothing but the dataset trains on: channels and image_size.
DEFAULTS = {
    "image_folder": (3, 64),
    "image_pairs": (3, 64),
    "mnist": (1, 28),
    "fashion_mnist": (1, 28),
    "cifar10": (3, 32),
    "svhn": (3, 32),
    "celeba": (3, 64),
    "lsun": (3, 64),
}


@pytest.mark.parametrize(("name", "default"), DEFAULTS.items())
def test_defaults(name: str, default: tuple[int, int]):
    entry = plugin_manager().registries.datasets[name]
    config = entry.config(name=name)
    assert isinstance(config, entry.load().Config)
    assert (config.channels, config.image_size) == default
    assert config.sample_spec().shape == (default[0], default[1], default[1])


@pytest.mark.parametrize("name", DEFAULTS)
def test_every_option_is_documented(name: str):
    config = plugin_manager().registries.datasets[name].load().Config
    assert descriptions(config).keys() == config.model_fields.keys()


def recipe(**dataset: Any) -> dict[str, Any]:
    names = {"generator": "mlp", "discriminator": "mlp", "loss": "hinge", "trainer": "adversarial"}
    parts = {table: {"name": name} for table, name in names.items()}
    return {"run": {"name": "a", "steps": 1}, "dataset": {"root": "a", **dataset}, **parts}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            {"labels": "folders", "label_kind": "continuous"},
            'has no effect with labels = "folders"',
        ),
        ({"label_kind": "classes"}, 'dataset.label_kind: has no effect with labels = "none": set dataset.labels to a'),
        ({"labels": "a.csv", "label_kind": "classes"}, None),
        ({"name": "image_pairs", "pairing": "side_by_side", "folders": ["x", "y"]}, "dataset.folders: have no effect"),
        ({"name": "image_pairs", "pairing": "side_by_side"}, None),
        ({"name": "image_pairs", "folders": ["x", "y"]}, None),
    ],
)
def test_options_without_effect_are_told(options: dict[str, Any], told: str | None):
    pytest.importorskip("ganzoo_benchmarks")
    checked, manager = load_recipe(recipe(**{"name": "image_folder", **options}), plugin_manager())
    found = [str(problem) for problem in lint(checked, manager) if "dataset" in str(problem)]
    assert found == [] if told is None else told in found[0]


def test_no_bands_are_told_as_such():
    pytest.importorskip("ganzoo_benchmarks")
    with pytest.raises(RecipeError, match=r"1 problem\n.*dataset\.bands: is \[\]: tuple should have at least 1 item"):
        load_recipe(recipe(name="image_folder", bands=[]), plugin_manager())
