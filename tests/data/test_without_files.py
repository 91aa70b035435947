"""An installation without datasets of files says in one line what to install for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ganzoo import api
from ganzoo.registry import plugin_manager
from ganzoo.registry.plugin_manager import PluginManager

Tables = dict[str, Any]
MISSING = '"ganzoo-datasets" is not installed; pip installs it from its folder'


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> PluginManager:
    kept = [each for each in plugin_manager._installed() if each[1].distribution != "ganzoo-datasets"]
    monkeypatch.setattr(plugin_manager, "_installed", lambda: kept)
    return PluginManager()


def test_it_trains_and_refuses_a_folder(tables: Tables, bare: PluginManager, tmp_path: Path):
    run = api.run(tables, ["run.steps=2"], manager=bare)
    told = f"--images {tmp_path}: no installed dataset reads any folder of images: {MISSING}"
    with pytest.raises(api.RequestError) as raised:
        api.evaluate_images(tmp_path, run.path, manager=bare)
    assert str(raised.value) == told


def test_a_name_that_is_not_there(tables: Tables, bare: PluginManager):
    with pytest.raises(api.RequestError) as raised:
        api.run({**tables, "dataset": {"name": "image_folder"}}, manager=bare)
    (line,) = [line for line in str(raised.value).splitlines() if 'there is no dataset "image_folder"' in line]
    assert MISSING in line


def test_the_command_says_that_the_plugin_is_left_out(
    command: Callable[..., Any], tables: Tables, recipe_file: Callable[..., Path]
):
    tables["dataset"] = {"name": "image_folder"}
    ended = command("--no-plugin", "datasets", "recipe", "check", recipe_file(tables))
    assert ended.code == 2
    assert 'there is no dataset "image_folder"' in ended.err + ended.out
    assert "the plugin datasets (ganzoo-datasets 0.1.0) is disabled" in ended.err + ended.out
