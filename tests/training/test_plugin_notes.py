"""The last line of a traceback: which component of a plugin an error may come from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ganzoo import api
from ganzoo.builtin.gan_trainer import GANTrainer
from ganzoo.registry.plugin_manager import PluginManager

SOURCE = """
from ganzoo.plugin import Discriminator, Loss, hookimpl
from torch import nn

class Blob(Discriminator):
    def __init__(self, config, *, info):
        super().__init__(config, info=info)
        self.layer = nn.Linear(3, 1)
    def forward(self, images):
        return self.layer(images.flatten(1)).squeeze(1)
    def features(self, images):
        return [images]

class Vector(Loss):
    def discriminator_loss(self, real_logits, fake_logits):
        return fake_logits - real_logits
    def generator_loss(self, real_logits, fake_logits):
        return -fake_logits

@hookimpl
def register_losses(register):
    register("vector", Vector)

@hookimpl
def register_architectures(register):
    register("blob", Blob)
"""


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(SOURCE)
    return path


def notes(tables: dict[str, Any], error: type[Exception], *plugins: Path) -> list[str]:
    """The notes of the error that a run of these tables ends in."""
    with pytest.raises(error) as caught:
        api.run(tables, manager=PluginManager(files=plugins))
    return getattr(caught.value, "__notes__", [])


def test_component_whose_code_fails(tables: dict[str, Any], plugin: Path):
    told = f"this comes out of the discriminator blob of the plugin mine.py, which `ganzoo test-plugin {plugin}` checks"
    assert notes({**tables, "discriminator": {"name": "blob"}}, RuntimeError, plugin) == [told]


def test_component_whose_values_fail_elsewhere(tables: dict[str, Any], plugin: Path):
    told = f"this may come from the loss vector of the plugin mine.py, which `ganzoo test-plugin {plugin}` checks"
    assert notes({**tables, "loss": {"name": "vector"}}, RuntimeError, plugin) == [told]


OPTIMIZERS = """
from ganzoo.plugin import OptimizerConfig, hookimpl
from torch.optim import LBFGS

class Closing(OptimizerConfig):
    def build(self, parameters):
        return LBFGS(parameters)

class Failing(OptimizerConfig):
    def build(self, parameters):
        raise TypeError

@hookimpl
def register_optimizers(register):
    register("closing", Closing)
    register("failing", Failing)
"""


@pytest.mark.parametrize("name", ["closing", "failing"])
def test_an_optimizer_that_fails_where_it_is_built_or_steps(tables: dict[str, Any], tmp_path: Path, name: str):
    path = tmp_path / "mine.py"
    path.write_text(OPTIMIZERS)
    told = f"this comes out of the optimizer {name} of the plugin mine.py, which `ganzoo test-plugin {path}` checks"
    tables["trainer"]["generator_optimizer"] = {"name": name}
    assert notes(tables, TypeError, path) == [told]


METRIC = """
from ganzoo.plugin import Metric, MetricConfig, hookimpl

class LevelsConfig(MetricConfig):
    levels: tuple[float, ...] = (0.1, 0.5)
    \"\"\"Levels.\"\"\"

class Levels(Metric):
    Config = LevelsConfig
    needs = frozenset({"pixels"})
    directions = {"level": "none"}

    def compute(self, inputs):
        return {"level": self.config.levels[2]}

@hookimpl
def register_metrics(register):
    register("levels", Levels)
"""


def test_a_metric_that_fails_is_named_by_the_run_and_by_evaluate(
    tables: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    path = tmp_path / "levels.py"
    path.write_text(METRIC)
    told = f"this comes out of the metric levels of the plugin levels.py, which `ganzoo test-plugin {path}` checks"
    scoring = {"samples": 8, "every": 1, "metrics": ["levels"]}
    manager = PluginManager(files=[path])
    run = api.run({**tables, "evaluation": scoring}, ["run.steps=1"], manager=manager)
    assert "left out from here on: IndexError: tuple index out of range (standard.py, line " in capsys.readouterr().err
    with pytest.raises(IndexError) as caught:
        api.evaluate(run)
    assert caught.value.__notes__ == [told]
    scoring["metrics"] = [{"name": "levels", "levels": [0.25, 0.5, 0.75]}]
    run = api.run({**tables, "evaluation": scoring}, ["run.steps=1"], manager=manager)
    assert run.metrics[-1]["score/level"] == 0.75


def test_components_of_distributions_are_named_where_a_step_fails(
    tables: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    def train_step(trainer: GANTrainer, batch: Any) -> Any:
        raise TypeError("no")

    monkeypatch.setattr(GANTrainer, "train_step", train_step)
    (note,) = notes(tables, TypeError)
    assert note.startswith("this may come from the generator dcgan or the discriminator dcgan of the plugin dcgan (")
    assert note.endswith("), which `ganzoo test-plugin ganzoo-dcgan` checks")


def test_no_component_is_named_where_ganzoo_itself_fails(tables: dict[str, Any], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("ganzoo.training.loop.target_reached", lambda run: [][0])
    assert notes(tables, IndexError) == []
