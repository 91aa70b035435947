"""What many tests need: a recipe that trains in a moment, and the command run in this process."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tomli_w
import torch
from command_line import command, process  # noqa: F401
from tiny_recipe import tiny_recipe
from wandb_server import no_wandb_account, server  # noqa: F401

from ganzoo.recipe.load import parse_recipe
from ganzoo.recipe.model import Recipe
from ganzoo.recipe.overrides import apply_overrides
from ganzoo.registry.plugin_manager import PluginManager, plugin_manager

Tables = dict[str, Any]

torch.set_num_threads(1)  # networks this small lose more by waiting for each other's threads than they gain


def pytest_configure(config: pytest.Config) -> None:
    """Take SIGINT as a terminal gives it, and hide GPUs unless their tests are asked for (`-m cuda`).

    A shell's background job has SIGINT ignored, and so would every child process. Figures are those of a CPU.
    """
    if "cuda" not in config.option.markexpr:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep packs out of the user's cache; one folder for all tests, so that each pack is made once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GANZOO_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


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
