"""The table of kinds agrees with the hooks, the recipe and what it names elsewhere."""

from __future__ import annotations

from operator import attrgetter
from typing import Any

import pytest

from ganzoo.components.options import ComponentConfig
from ganzoo.recipe.load import recipe_model
from ganzoo.recipe.model import Recipe
from ganzoo.registry import hookspecs
from ganzoo.registry.kinds import KINDS, LISTS, Kind
from ganzoo.registry.plugin_manager import PluginManager

every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


def test_every_hook_that_registers_components_is_of_a_kind():
    hooks = {name for name in vars(hookspecs) if name.startswith("register_")} - {"register_commands"}
    assert hooks == {kind.hook for kind in KINDS}
    assert {f"register_{name}" for name in LISTS} == hooks


def test_every_config_of_components_is_of_a_kind():
    assert {kind.config for kind in KINDS} == set(ComponentConfig.__subclasses__())


@every_kind
def test_its_table_in_a_recipe_takes_what_is_registered(kind: Kind, tables: dict[str, Any], manager: PluginManager):
    if not kind.table:
        return
    outer, _, name = kind.table.rpartition(".")
    for model in (Recipe, recipe_model(manager.registries)):
        of: Any = model.model_fields[outer].annotation if outer else model
        assert (of.model_fields[name].annotation == tuple[kind.config, ...]) == (kind.many and model is Recipe)
    recipe = recipe_model(manager.registries).model_validate(tables)
    if kind.keyed:
        assert kind.configs(recipe) == {f"{name}.{key}": each for key, each in getattr(recipe, name).chosen().items()}
        return
    assert list(kind.configs(recipe).values()) == (
        list(attrgetter(kind.table)(recipe)) if kind.many else [attrgetter(kind.table)(recipe)]
    )
