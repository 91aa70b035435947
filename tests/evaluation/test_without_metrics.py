"""An installation without metrics trains, and says in one line what to install for scores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ganzoo import api
from ganzoo.registry import plugin_manager
from ganzoo.registry.plugin_manager import PluginManager

Tables = dict[str, Any]
KEPT = ("ganzoo-core", "ganzoo-dcgan", "ganzoo-trackers")
MISSING = '"ganzoo-metrics" is not installed; pip installs it from its folder'


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> PluginManager:
    """Every plugin but that of the metrics and those that bring some of their own."""
    kept = [each for each in plugin_manager._installed() if each[1].distribution in KEPT]
    monkeypatch.setattr(plugin_manager, "_installed", lambda: kept)
    return PluginManager()


def test_it_trains_and_its_runs_can_be_scored_later(tables: Tables, bare: PluginManager):
    run = api.run(tables, ["run.steps=2"], manager=bare)
    with pytest.raises(api.RequestError) as raised:
        api.evaluate(run, samples=8)
    assert str(raised.value) == f"evaluation.metrics: names none, and none is there by default: {MISSING}"
    assert not (run.path / "evaluation.json").exists()


def test_scores_while_training_are_refused_before_the_first_step(tables: Tables, bare: PluginManager):
    tables["evaluation"] = {"every": 2, "samples": 8}
    with pytest.raises(api.RequestError, match=MISSING):
        api.run(tables, manager=bare)


@pytest.mark.parametrize(
    ("evaluation", "told"),
    [
        ({"metrics": ["frechet"]}, 'evaluation.metrics.0: there is no metric "frechet"; installed: none'),
        ({"extractors": [{"name": "vgg"}]}, 'evaluation.extractors.0.name: there is no extractor "vgg"'),
    ],
)
def test_a_name_that_is_not_there(tables: Tables, bare: PluginManager, evaluation: Tables, told: str):
    with pytest.raises(api.RequestError) as raised:
        api.run({**tables, "evaluation": evaluation}, manager=bare)
    (line,) = [line for line in str(raised.value).splitlines() if told in line]
    assert MISSING in line


def test_the_command_says_that_the_plugin_is_left_out(command: Callable[..., Any], tables: Tables):
    run = api.run(tables, ["run.steps=2"])
    ended = command("--no-plugin", "metrics", "evaluate", run.path, "--set", "evaluation.metrics=['frechet']")
    assert ended.code == 2
    assert 'there is no metric "frechet"' in ended.err
    assert "the plugin metrics (ganzoo-metrics 0.1.0) is disabled" in ended.err
