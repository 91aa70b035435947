"""`ganzoo recipe`."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]
RecipeFile = Callable[[dict], Path]


def test_check_of_a_right_recipe(command: Command, recipe_file: RecipeFile, tables: dict):
    path = recipe_file(tables)
    assert command("recipe", "check", path).out == f"{path}: nothing wrong\n"


def test_check_tells_everything(command: Command, recipe_file: RecipeFile, tables: dict):
    tables["generator"]["widht"] = 3
    tables["loss"]["name"] = "hing"
    path = recipe_file(tables)
    ended = command("recipe", "check", path, "--set", "run.steps=0")
    assert ended.code == 2
    first, *problems = ended.err.splitlines()
    assert first == f"error: {path}: 3 problems"
    assert [problem.split(":")[0].strip() for problem in problems] == ["run.steps", "generator.widht", "loss.name"]


@pytest.mark.parametrize("override", ["run.steps", "run.steps.x=3"])
def test_wrong_override(command: Command, recipe_file: RecipeFile, tables: dict, override: str):
    ended = command("recipe", "check", recipe_file(tables), "--set", override)
    assert ended.code == 2
    assert ended.err.startswith(f"error: --set {override}: ")


def test_show_prints_a_recipe_that_shows_the_same(command: Command, recipe_file: RecipeFile, tables: dict):
    shown = command("recipe", "show", recipe_file(tables), "--set", "trainer.batch_size=16")
    assert shown.code == 0
    resolved = tomllib.loads(shown.out)
    assert resolved["trainer"]["batch_size"] == 16
    assert resolved["trainer"]["discriminator_steps"] == 1
    assert command("recipe", "show", recipe_file(resolved)).out == shown.out
    as_json = command("recipe", "show", recipe_file(resolved), "--json")
    assert json.loads(as_json.out) == resolved


def test_schema_is_json(command: Command):
    schema = json.loads(command("recipe", "schema").out)
    assert schema["title"] == "ganzoo recipe"
    assert {"run", "generator", "trainer"} <= schema["properties"].keys()
