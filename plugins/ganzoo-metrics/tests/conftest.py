"""What the tests share: a recipe that trains in a moment, and the command run in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from command_line import command  # noqa: F401
from plugin_fixtures import _no_fsync, _one_thread, _own_cache  # noqa: F401
from tiny_recipe import tiny_recipe

pytest.importorskip("ganzoo_dcgan")


@pytest.fixture(scope="session")
def tables_in() -> Callable[..., dict[str, Any]]:
    """A recipe of made-up images of 16 pixels, with networks of a few thousand weights."""
    return tiny_recipe


@pytest.fixture
def tables(tmp_path: Path) -> dict[str, Any]:
    """That recipe, which runs below `tmp_path`."""
    return tiny_recipe(tmp_path)


@pytest.fixture
def recipe_file(tmp_path: Path) -> Callable[[dict[str, Any]], Path]:
    """Write tables to a recipe file."""

    def write(tables: dict[str, Any]) -> Path:
        path = tmp_path / "recipe.toml"
        path.write_text(tomli_w.dumps(tables))
        return path

    return write
