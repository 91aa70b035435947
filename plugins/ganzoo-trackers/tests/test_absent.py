"""The core without this distribution: it trains, and says what brings a tracker that a recipe names."""

from __future__ import annotations

from typing import Any

import pytest

from ganzoo import api
from ganzoo.registry.plugin_manager import PluginManager


@pytest.fixture
def without() -> PluginManager:
    """The plugins, as if this distribution were not installed."""
    manager = PluginManager(disabled=["trackers"])
    manager.plugins = [plugin for plugin in manager.plugins if plugin.name != "trackers"]
    return manager


def test_a_run_is_not_tracked(tables: dict[str, Any], without: PluginManager, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    del tables["tracking"]
    run = api.run(tables, manager=without)
    assert run.checkpoint.step == 6
    assert not (run.path / "wandb").exists()


def test_a_table_is_told_where_it_comes_from(tables: dict[str, Any], without: PluginManager):
    with pytest.raises(api.RequestError) as caught:
        api.run(tables, manager=without)
    assert str(caught.value).splitlines()[1:] == [
        '  tracking.wandb: there is no such key; known: csv; "ganzoo-trackers" is not installed; '
        "pip installs it from its folder"
    ]
