"""Recipes of the tests: one that trains in a moment, and what checks and writes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from tiny_recipe import tiny_recipe

from ganzoo.recipe.load import parse_recipe
from ganzoo.recipe.model import Recipe
from ganzoo.recipe.overrides import apply_overrides
from ganzoo.registry.plugin_manager import PluginManager, plugin_manager

Tables = dict[str, Any]


@pytest.fixture
def tables(tmp_path: Path, tables_in: Callable[[Path], Tables]) -> Tables:
    """A recipe that runs below `tmp_path`."""
    return tables_in(tmp_path)


@pytest.fixture(scope="session")
def tables_in() -> Callable[[Path], Tables]:
    """A recipe of six steps on made-up images of 16 pixels, with networks of a few thousand weights."""
    return tiny_recipe


@pytest.fixture
def manager() -> PluginManager:
    """The plugins that are installed."""
    return plugin_manager()


@pytest.fixture
def parse(manager: PluginManager) -> Callable[..., Recipe]:
    """Check tables: `parse(tables, "run.steps=3")`."""
    return lambda tables, *overrides: parse_recipe(apply_overrides(tables, overrides), manager)


@pytest.fixture
def recipe_file(tmp_path: Path) -> Callable[[Tables], Path]:
    """Write tables to a recipe file."""

    def write(tables: Tables) -> Path:
        path = tmp_path / "recipe.toml"
        path.write_text(tomli_w.dumps(tables))
        return path

    return write
