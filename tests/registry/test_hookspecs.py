"""Every hook: that it is documented, that it is called with what it says, in the order that it says."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from ganzoo import api
from ganzoo.registry import hookspecs
from ganzoo.registry.hookspecs import hookimpl
from ganzoo.registry.plugin_manager import PluginManager

HOOKS = {name: spec for name, spec in vars(hookspecs).items() if hasattr(spec, "ganzoo_spec")}
EVENTS = [name for name in HOOKS if not name.startswith(("register_", "lint_"))]


def test_hooks_are_those_of_the_documentation():
    assert {name: list(inspect.signature(spec).parameters) for name, spec in HOOKS.items()} == {
        "register_architectures": ["register"],
        "register_losses": ["register"],
        "register_datasets": ["register"],
        "register_trainers": ["register"],
        "register_importers": ["register"],
        "register_extractors": ["register"],
        "register_metrics": ["register"],
        "register_optimizers": ["register"],
        "register_observers": ["register"],
        "register_commands": ["register"],
        "lint_recipe": ["recipe"],
        "run_started": ["run"],
        "step_ended": ["run", "step", "metrics"],
        "figures_logged": ["run", "step", "figures"],
        "samples_ready": ["run", "step", "images", "grid"],
        "metrics_evaluated": ["run", "step", "scores"],
        "alert_raised": ["run", "step", "alert"],
        "checkpoint_saved": ["run", "step", "path"],
        "run_failed": ["run", "error"],
        "run_ended": ["run"],
    }


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_is_documented(name: str):
    documentation = HOOKS[name].__doc__
    assert documentation
    assert documentation.endswith(".")


class Witness:
    """An observer that writes down what it is told."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, Any]] = []

    @hookimpl
    def run_started(self, run: Any) -> None:
        self.heard.append(("run_started", run.step))

    @hookimpl
    def step_ended(self, run: Any, step: int, metrics: Any) -> None:
        assert run.step == step
        self.heard.append(("step_ended", (step, None if metrics is None else sorted(metrics))))

    @hookimpl
    def samples_ready(self, run: Any, step: int, images: Any) -> None:
        assert images.device.type == "cpu"
        assert images.abs().max() <= 1
        self.heard.append(("samples_ready", (step, tuple(images.shape))))

    @hookimpl
    def checkpoint_saved(self, run: Any, step: int, path: Any) -> None:
        assert (path / "manifest.json").is_file()
        self.heard.append(("checkpoint_saved", (step, path.name)))

    @hookimpl
    def run_failed(self, run: Any, error: BaseException) -> None:
        self.heard.append(("run_failed", type(error).__name__))

    @hookimpl
    def run_ended(self, run: Any) -> None:
        self.heard.append(("run_ended", run.step))


@pytest.fixture
def witness() -> Witness:
    return Witness()


def test_events_of_a_run(tables: dict, witness: Witness):
    manager = PluginManager()
    manager.pluggy.register(witness)
    tables["run"]["steps"] = 4
    tables["samples"] |= {"every": 2}
    api.run(tables, manager=manager)
    figures = [
        "epoch",
        "gradient_norm/discriminator",
        "gradient_norm/generator",
        "images_per_second",
        "loss/discriminator",
        "loss/generator",
        "lr/discriminator",
        "lr/generator",
        "probability/fake",
        "probability/real",
    ]
    # The run's own observers come after those of plugins, and what they fire comes in between.
    assert witness.heard == [
        ("run_started", 0),
        ("step_ended", (1, None)),
        ("step_ended", (2, figures)),
        ("samples_ready", (2, (4, 3, 16, 16))),
        ("step_ended", (3, None)),
        ("checkpoint_saved", (3, "step_0000003")),
        ("step_ended", (4, figures)),
        ("samples_ready", (4, (4, 3, 16, 16))),
        ("checkpoint_saved", (4, "step_0000004")),
        ("run_ended", 4),
    ]


def test_events_of_a_run_that_fails(tables: dict, witness: Witness):
    class Failing:
        @hookimpl
        def step_ended(self, step: int) -> None:
            if step == 2:
                raise KeyboardInterrupt

    manager = PluginManager()
    manager.pluggy.register(witness)
    manager.pluggy.register(Failing())
    with pytest.raises(KeyboardInterrupt):
        api.run(tables, manager=manager)
    assert [event for event, _ in witness.heard[-2:]] == ["run_failed", "run_ended"]
    assert witness.heard[-2][1] == "KeyboardInterrupt"


def test_every_event_is_heard_or_is_for_evaluation(witness: Witness):
    implemented = {name for name in EVENTS if hasattr(witness, name)}
    assert set(EVENTS) - implemented == {"figures_logged", "metrics_evaluated", "alert_raised"}
