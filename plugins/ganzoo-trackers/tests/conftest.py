"""What the tests share: a recipe that trains in a moment, the command, and no account of W&B."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from command_line import command, process  # noqa: F401
from made_runs import make_run  # noqa: F401
from plugin_fixtures import _one_thread, _own_cache  # noqa: F401
from tiny_recipe import tiny_recipe
from wandb_server import no_wandb_account, server  # noqa: F401

from ganzoo.registry.plugin_manager import PluginManager, plugin_manager

pytest.importorskip("ganzoo_dcgan")


@pytest.fixture
def tables(tmp_path: Path) -> dict[str, Any]:
    """A recipe that runs below `tmp_path`."""
    return tiny_recipe(tmp_path)


@pytest.fixture
def manager() -> PluginManager:
    """The plugins that are installed."""
    return plugin_manager()


@pytest.fixture
def recipe_file(tmp_path: Path) -> Callable[[dict[str, Any]], Path]:
    """Write tables to a recipe file."""

    def write(tables: dict[str, Any]) -> Path:
        path = tmp_path / "recipe.toml"
        path.write_text(tomli_w.dumps(tables))
        return path

    return write
