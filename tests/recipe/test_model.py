"""Recipes: what they resolve to, how they are changed from the command line, their schema."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ganzoo.errors import RecipeError, RequestError
from ganzoo.recipe.load import load_recipe, parse_recipe, recipe_schema
from ganzoo.recipe.model import Recipe
from ganzoo.registry.plugin_manager import PluginManager

Tables = dict[str, Any]
Parse = Callable[..., Recipe]


def test_defaults_are_filled_in(tables: Tables, parse: Parse):
    recipe = parse(tables)
    trainer: Any = recipe.trainer
    assert (recipe.run.seed, recipe.run.steps, recipe.run.epochs) == (7, 6, None)
    assert trainer.generator_optimizer.model_dump() == {
        "name": "adam",
        "lr": 2e-4,
        "weight_decay": 0.0,
        "betas": (0.5, 0.999),
        "eps": 1e-8,
        "amsgrad": False,
    }
    assert recipe.checkpoint.keep == 2
    assert recipe.penalties == ()


def test_smallest_recipe_takes_every_default(parse: Parse):
    parts = {
        "dataset": "digits",
        "generator": "dcgan",
        "discriminator": "dcgan",
        "loss": "minimax",
        "trainer": "adversarial",
    }
    recipe = parse({"run": {"name": "x", "epochs": 5}, **{table: {"name": name} for table, name in parts.items()}})
    assert recipe.run.seed == 2333
    assert recipe.trainer.batch_size == 128
    assert recipe.generator.latent_dim == 100
    assert recipe.run.epochs == 5.0
    assert recipe.dataset.sample_spec().shape == (1, 32, 32)


def test_resolved_recipe_resolves_to_itself(tables: Tables, parse: Parse, manager: PluginManager):
    tables["penalties"] = [{"name": "r1", "weight": 2.5}, {"name": "gradient_penalty", "interval": 4}]
    tables["trainer"] |= {"ema_decay": 0.9, "discriminator_optimizer": {"name": "rmsprop", "lr": 5e-5}}
    tables["dataset"] |= {"crop": "none"}
    once = parse(tables)
    text = once.to_toml()
    again = parse_recipe(tomllib.loads(text), manager)
    assert again.to_toml() == text
    assert again.to_dict() == once.to_dict()
    assert once.to_dict()["penalties"][1]["target"] == 1.0


def test_resolved_recipe_writes_every_default_but_what_is_unset(tables: Tables, parse: Parse):
    resolved = parse(tables).to_dict()
    assert resolved["trainer"]["discriminator_steps"] == 1
    assert resolved["generator"]["init"]["weight_std"] == 0.02
    assert "epochs" not in resolved["run"]
    assert "generator_grad_clip" not in resolved["trainer"]


def test_recipe_is_frozen(tables: Tables, parse: Parse):
    with pytest.raises(ValueError, match="frozen"):
        parse(tables).run.steps = 3  # type: ignore[misc]


def test_whole_numbers_do_for_real_options(tables: Tables, parse: Parse):
    tables["generator"]["init"] = {"norm_mean": 0}
    assert parse(tables).to_dict()["generator"]["init"]["norm_mean"] == 0.0


def test_crop_is_a_number_or_a_word(tables: Tables, parse: Parse):
    assert parse(tables, "dataset.crop=12").dataset.crop == 12
    assert parse(tables, "dataset.crop=none").dataset.crop == "none"
    with pytest.raises(RecipeError, match=r"dataset\.crop"):
        parse(tables, "dataset.crop=sqare")


def test_override_is_checked_like_the_file(tables: Tables, parse: Parse):
    assert parse(tables, "trainer.batch_size=4", "generator.init.norm_std=0").trainer.batch_size == 4
    with pytest.raises(RecipeError, match=r"trainer\.batch_size"):
        parse(tables, "trainer.batch_size=many")


def test_tables_are_left_alone(tables: Tables, parse: Parse):
    before = json.dumps(tables)
    parse(tables, "run.steps=9")
    assert json.dumps(tables) == before


def test_recipe_file_that_is_no_toml(tmp_path: Path, manager: PluginManager):
    path = tmp_path / "r.toml"
    path.write_text("[run\nname = 3")
    with pytest.raises(RecipeError, match=r"is not valid TOML: .*line 1"):
        load_recipe(path, manager)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match="is not valid TOML"):
        load_recipe(path, manager)


def test_recipe_file_that_is_not_there(tmp_path: Path, manager: PluginManager):
    with pytest.raises(RequestError, match=r"no\.toml: there is no such recipe file"):
        load_recipe(tmp_path / "no.toml", manager)
    with pytest.raises(RequestError, match="is a folder; a recipe is one TOML file"):
        load_recipe(tmp_path, manager)


def definitions(schema: Any) -> list[dict[str, Any]]:
    found = []
    if isinstance(schema, dict):
        found = [schema, *(d for value in schema.values() for d in definitions(value))]
    elif isinstance(schema, list):
        found = [d for value in schema for d in definitions(value)]
    return found


def described(node: dict[str, Any], schema: dict[str, Any]) -> bool:
    target = schema["$defs"].get(node.get("$ref", "").rpartition("/")[2], {})
    return bool(node.get("description") or target.get("description"))


def test_schema_knows_all_that_is_registered(manager: PluginManager):
    schema = recipe_schema(manager.registries)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["additionalProperties"] is False
    assert set(schema["required"]) == {"run", "dataset", "generator", "discriminator", "loss", "trainer"}
    names = {node["const"] for node in definitions(schema) if "const" in node}
    for registry in manager.registries.all():
        assert registry.kind.name == "importer" or set(registry.names()) <= names  # no recipe names an importer


def test_schema_is_whole(manager: PluginManager):
    """Every reference leads somewhere, and every key of the file has a text to show in an editor."""
    schema = json.loads(json.dumps(recipe_schema(manager.registries)))
    for node in definitions(schema):
        if "$ref" in node:
            assert node["$ref"].removeprefix("#/$defs/") in schema["$defs"]
    undocumented = [
        f"{definition}.{key}"
        for definition, node in schema["$defs"].items()
        for key, value in node.get("properties", {}).items()
        if not described(value, schema) and key != "name"
    ]
    assert undocumented == []
    assert [key for key, value in schema["properties"].items() if not described(value, schema)] == []


def test_values_that_json_has_no_word_for_are_refused(tables: Tables, parse: Parse):
    tables["penalties"] = [{"name": "r1", "weight": math.nan}]
    with pytest.raises(RecipeError, match=r"penalties\.0\.weight: is nan: input should be a finite number"):
        parse(tables)
