"""Registering components by class and by place, and what is said where that goes wrong."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from ganzoo.components.loss import Loss
from ganzoo.components.options import (
    ComponentConfig,
    DiscriminatorConfig,
    GeneratorConfig,
    LossConfig,
    OptimizerConfig,
    PenaltyConfig,
)
from ganzoo.components.penalty import Penalty
from ganzoo.errors import PluginError
from ganzoo.registry.kinds import KINDS
from ganzoo.registry.registry import Registrar, Registries


class Margin(Loss):
    """A loss with an option."""

    class Config(LossConfig):
        """Its options."""

        margin: float = 1.0
        """How far apart."""

    def discriminator_loss(self, real_logits: Any, fake_logits: Any) -> Any:
        return (fake_logits - real_logits + self.config.margin).mean()  # type: ignore[attr-defined]

    def generator_loss(self, real_logits: Any, fake_logits: Any) -> Any:
        return -fake_logits.mean()


class Slope(Penalty):
    """A penalty whose options have the same class name as those of the loss."""

    class Config(PenaltyConfig):
        """Its options."""

        slope: int = 2
        """How steep."""


@pytest.fixture
def registries() -> Registries:
    return Registries()


@pytest.fixture
def register(registries: Registries) -> Registrar:
    """What a plugin gets in `register_losses`."""
    return Registrar((registries.losses, registries.penalties), "margin (ganzoo-margin 1.0)")


def test_class_is_filed_by_its_config(registries: Registries, register: Registrar):
    register("margin", Margin)
    register("slope", Slope)
    assert registries.losses.names() == ["margin"]
    assert registries.penalties.names() == ["slope"]
    entry = registries.losses["margin"]
    assert entry.load() is Margin
    assert entry.plugin == "margin (ganzoo-margin 1.0)"
    assert "margin" in registries.losses
    assert "slope" not in registries.losses


def test_two_names_can_share_a_class(registries: Registries, register: Registrar):
    register("b", Margin)
    register("a", Margin)
    assert [entry.name for entry in registries.losses] == ["a", "b"]
    read: Any = TypeAdapter(registries.losses.options_type())
    assert read.validate_python({"name": "b", "margin": 3}).margin == 3
    with pytest.raises(ValidationError):
        read.validate_python({"name": "c"})


def test_configs_with_one_class_name_stay_apart(registries: Registries, register: Registrar):
    """Every plugin may call its nested class `Config`."""

    class Other(Margin):
        class Config(LossConfig):
            """Others."""

            temperature: float = 2.0
            """How hot."""

    register("margin", Margin)
    register("other", Other)
    read: Any = TypeAdapter(registries.losses.options_type())
    assert read.validate_python({"name": "other", "temperature": 1}).temperature == 1
    properties = [set(d["properties"]) for d in read.json_schema()["$defs"].values()]
    assert sorted(map(sorted, properties)) == [["margin", "name"], ["name", "temperature"]]


def test_single_entry_needs_its_name_too(registries: Registries, register: Registrar):
    register("margin", Margin)
    read: Any = TypeAdapter(registries.losses.options_type())
    assert read.validate_python({"name": "margin"}).name == "margin"
    for wrong in ({}, {"name": "hinge"}):
        with pytest.raises(ValidationError):
            read.validate_python(wrong)


class Ensemble(Margin):
    """A loss that holds another."""

    class Config(LossConfig):
        """Its options."""

        inner: LossConfig = LossConfig(name="margin")
        """The other."""


def test_options_may_hold_a_component_of_their_own_kind(registries: Registries, register: Registrar):
    register("margin", Margin)
    register("ensemble", Ensemble)
    read: Any = TypeAdapter(registries.losses.options_type())
    assert read.validate_python({"name": "ensemble"}).inner.margin == 1
    inner = read.validate_python({"name": "ensemble", "inner": {"name": "margin", "margin": 3}}).inner
    assert (inner.load_component(), inner.margin) == (Margin, 3)
    with pytest.raises(ValidationError):  # and none that holds one itself
        read.validate_python({"name": "ensemble", "inner": {"name": "ensemble"}})


def test_taken_name_names_both_plugins(registries: Registries, register: Registrar):
    register("margin", Margin)
    other = Registrar((registries.losses,), "wide (ganzoo-wide 2.0)")
    with pytest.raises(PluginError) as caught:
        other("margin", Margin)
    for part in ('"margin"', "loss", "margin (ganzoo-margin 1.0)", "wide (ganzoo-wide 2.0)", "--no-plugin"):
        assert part in str(caught.value)


def test_generator_and_discriminator_can_share_a_name(registries: Registries):
    register = Registrar((registries.generators, registries.discriminators), "p")
    register("net", "m:G", config=GeneratorConfig)
    register("net", "m:D", config=DiscriminatorConfig)
    assert registries.generators.names() == registries.discriminators.names() == ["net"]


def test_component_of_another_kind_is_refused(register: Registrar):
    with pytest.raises(PluginError, match=r"a loss \(LossConfig\) or penalty \(PenaltyConfig\).*GeneratorConfig"):
        register("net", "m:G", config=GeneratorConfig)


def test_an_object_in_place_of_a_class_is_refused(register: Registrar):
    made: Any = Margin(LossConfig(name="margin"), info=None)  # type: ignore[arg-type]
    with pytest.raises(PluginError, match='registers "m" as an object: register its class, Margin'):
        register("m", made)


@pytest.mark.parametrize("component", [dict, "module:Class"])
def test_component_without_config_is_refused(register: Registrar, component: Any):
    with pytest.raises(PluginError, match='registers "x" without a config'):
        register("x", component)


def test_remove_takes_out_one_plugin(registries: Registries, register: Registrar):
    register("margin", Margin)
    Registrar((registries.losses,), "other")("wide", Margin)
    registries.losses.remove("other")
    assert registries.losses.names() == ["margin"]


def test_there_is_a_registry_for_each_kind(registries: Registries):
    assert [registry.kind for registry in registries.all()] == list(KINDS)
    assert {"generator", "discriminator", "loss", "penalty", "dataset", "trainer", "importer", "extractor"} < {
        kind.name for kind in KINDS
    }


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of a plugin, not imported yet."""
    name = "ganzoo_margin_test_module"
    (tmp_path / f"{name}.py").write_text(
        textwrap.dedent(
            """
            from ganzoo.components.loss import Loss
            from ganzoo.components.options import LossConfig

            class Config(LossConfig):
                pass

            class Right:
                Config = Config

            class Unfinished(Loss):
                Config = Config

            class Wrong:
                Config = LossConfig

            def function():
                pass
            """
        )
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield name
    sys.modules.pop(name, None)


def entry_at(place: str, attribute: str, config: type[ComponentConfig]) -> Any:
    registry = Registries().losses
    registry.register("margin", f"{place}:{attribute}", config, "margin (ganzoo-margin 1.0)")
    return registry["margin"]


def test_place_is_imported_when_it_is_loaded(place: str):
    from importlib import import_module

    assert place not in sys.modules
    config = import_module(place).Config
    del sys.modules[place]
    entry = entry_at(place, "Right", config)
    assert place not in sys.modules
    with pytest.raises(PluginError, match="is registered with the config"):
        entry.load()  # the module, imported again, has another class
    module = sys.modules[place]
    assert entry_at(place, "Right", module.Config).load() is module.Right


@pytest.mark.parametrize(
    ("attribute", "told"),
    [
        ("Wrong", "set `Config` in the class"),
        ("Unfinished", "its class Unfinished lacks discriminator_loss and generator_loss: define them there"),
        ("Missing", "AttributeError"),
        ("function", "has None: set `Config` in the class"),
    ],
)
def test_wrong_place_is_told(place: str, attribute: str, told: str):
    from importlib import import_module

    with pytest.raises(PluginError) as caught:
        entry_at(place, attribute, import_module(place).Config).load()
    assert told in str(caught.value)
    assert "margin (ganzoo-margin 1.0)" in str(caught.value)


def test_an_optimizer_without_build_is_refused():
    class Unbuilt(OptimizerConfig):
        """It lacks what makes it an optimizer."""

    with pytest.raises(PluginError, match='"unbuilt" of the plugin p: its class Unbuilt lacks build: define it there'):
        Registrar((Registries().optimizers,), "p")("unbuilt", Unbuilt)


def test_module_that_is_not_there_is_told():
    with pytest.raises(PluginError, match="cannot be imported from no_such_module:X: ModuleNotFoundError"):
        entry_at("no_such_module", "X", LossConfig).load()


def test_everything_that_is_registered_can_be_loaded():
    """The places in the registrations of the installed plugins are right."""
    from ganzoo.registry.plugin_manager import plugin_manager

    for registry in plugin_manager().registries.all():
        for entry in registry:
            component = entry.load()
            assert component.__doc__, entry
            assert issubclass(entry.config, getattr(component, "Config", component))
