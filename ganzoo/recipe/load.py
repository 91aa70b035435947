"""Read a recipe, apply its overrides, and check it against the registered components."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError, create_model

from ganzoo.components.options import ROLES, Options
from ganzoo.env import TRUST_VARIABLE
from ganzoo.errors import Problem, RecipeError, RequestError
from ganzoo.recipe.messages import explain
from ganzoo.recipe.model import Recipe
from ganzoo.recipe.overrides import Overrides, apply_overrides
from ganzoo.recipe.validate import missing_plugins, unfit_parts, unmet_wishes
from ganzoo.registry.plugin_manager import PluginManager
from ganzoo.registry.registry import Registries
from ganzoo.text import parse_toml

Source = str | Path | Mapping[str, Any] | Recipe
"""A TOML file, whose plugin files are relative to its folder; or tables, or a checked recipe, whose plugin files are
relative to the working directory."""


def load_recipe(
    source: Source, manager: PluginManager, overrides: Overrides = (), *, trust: bool = True
) -> tuple[Recipe, PluginManager]:
    """Read and check a recipe; return it and the plugins, those of its plugin files included.

    Args:
        source: file, tables or recipe.
        manager: the installed plugins.
        overrides: changes to the recipe.
        trust: whether the plugin files may be imported, which executes them.

    Raises:
        RequestError: the recipe, or a plugin file that it names, cannot be used.
    """
    tables, name = read_tables(source, overrides)
    files = named_files(tables)
    if files and trust:
        manager = manager.with_files([Path(file) for file in files])
    return parse_recipe(tables, manager, source=name), manager


def read_tables(source: Source, overrides: Overrides = ()) -> tuple[dict[str, Any], str]:
    """Return the tables of a recipe, its plugin files as absolute paths, and its name in messages.

    Raises:
        RequestError: the file cannot be read as TOML, or an override is not valid.
    """
    folder, name = Path(), "recipe"
    if isinstance(source, str | Path):
        folder, name = Path(source).parent, str(source)
        tables: Mapping[str, Any] = read_toml(Path(source))
    else:
        tables = source.to_dict() if isinstance(source, Recipe) else source
    changed = apply_overrides(tables, overrides)
    files = named_files(changed)
    if files:
        changed["plugins"]["files"] = [str((folder / file).resolve()) for file in files]
    return changed, name


def parse_recipe(tables: Mapping[str, Any], manager: PluginManager, *, source: str = "recipe") -> Recipe:
    """Check tables against the installed components and return the recipe.

    Args:
        tables: as read from TOML, overrides included.
        manager: the plugins, those of the recipe's own files among them.
        source: name of the recipe in error messages.

    Raises:
        RecipeError: lists every problem with its TOML path.
    """
    problems = missing_plugins(tables, manager)
    text = json.dumps(tables)
    try:
        # A model of the named components only: one of all installed takes longer than the rest of a command.
        model = recipe_model(manager.registries, _named(tables), roles_of(tables, manager.registries))
        recipe = model.model_validate_json(text, strict=True)
    except ValidationError:
        problems += _explained(text, tables, manager)
        raise RecipeError(source, problems) from None
    problems += [*unfit_parts(recipe), *unmet_wishes(recipe)]
    if problems:
        raise RecipeError(source, problems)
    return recipe


def named_files(tables: Mapping[str, Any]) -> list[str]:
    """List the plugin files that a recipe names; none where the list is not valid, which `parse_recipe` reports."""
    plugins = tables.get("plugins")
    files = plugins.get("files", []) if isinstance(plugins, Mapping) else []
    return list(files) if isinstance(files, list | tuple) and all(isinstance(file, str) for file in files) else []


def trusted() -> bool:
    """Check whether `GANZOO_TRUST_PLUGINS` allows importing the plugin files of runs and of recipes to be checked."""
    return os.environ.get(TRUST_VARIABLE, "").lower() in ("1", "true", "yes")


def recipe_model(
    registries: Registries, names: Collection[str] | None = None, roles: Mapping[str, str] | None = None
) -> type[Recipe]:
    """Build the pydantic model of a recipe from the registered components.

    Args:
        registries: those of the components.
        names: names of the components to include; left out: all.
        roles: kinds of the trainer's networks by name; left out: [networks] is not checked.
    """
    inside: dict[str, dict[str, Any]] = {"": {}}
    for registry in registries.all():
        outer, _, table = registry.kind.table.rpartition(".")
        if table:
            of: Any = registry.options_type(names)
            inside.setdefault(outer, {})[table] = tuple[of, ...] if registry.kind.many else of
    types = inside.pop("")
    if roles is not None:
        further = {role: (types[kind], None) for role, kind in roles.items() if role not in ROLES}
        types["networks"] = create_model("NetworkTables", __base__=Options, **further)  # type: ignore[call-overload]
    for table, inner in inside.items():
        types[table] = _with_types(Recipe.model_fields[table].annotation, inner)
    model: type[Recipe] = _with_types(Recipe, types)
    return model


def roles_of(tables: Mapping[str, Any], registries: Registries) -> Mapping[str, str] | None:
    """Return the roles of a recipe's trainer; None where it gives no [networks] to check, or its trainer is wrong."""
    trainer = tables.get("trainer")
    name = trainer.get("name") if isinstance(trainer, Mapping) else None
    if "networks" not in tables or not isinstance(name, str) or name not in registries.trainers:
        return None
    with suppress(ValidationError):
        config = registries.trainers[name].config
        return config.model_validate_json(json.dumps(trainer), strict=True).roles  # type: ignore[no-any-return]
    return None


def _with_types(model: Any, types: Mapping[str, Any]) -> Any:
    """Derive a model with other types for some of its fields."""
    fields: dict[str, Any] = {name: (of, model.model_fields[name].default) for name, of in types.items()}
    return create_model(model.__name__, __base__=model, __doc__=model.__doc__, **fields)


def recipe_schema(registries: Registries) -> dict[str, Any]:
    """Return the JSON schema of a recipe with every installed component."""
    schema = recipe_model(registries).model_json_schema()
    return {**schema, "$schema": "https://json-schema.org/draft/2020-12/schema", "title": "ganzoo recipe"}


LARGEST = 2**24
"""Largest recipe in bytes: reading a link to a device would never end."""


def read_toml(path: Path) -> dict[str, Any]:
    """Read the tables of a TOML file.

    Raises:
        RequestError: there is no such file, or it cannot be read.
        RecipeError: it is not TOML.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise RequestError(f"{path}: is larger than {LARGEST >> 20} MiB, which no recipe is")
        return parse_toml(content.decode())
    except FileNotFoundError:
        raise RequestError(f"{path}: there is no such recipe file") from None
    except IsADirectoryError:
        raise RequestError(f"{path}: is a folder; a recipe is one TOML file") from None
    except OSError as error:
        raise RequestError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise RecipeError(str(path), [Problem("", f"is not valid TOML: {error}")]) from error


def _named(tables: Mapping[str, Any]) -> set[str]:
    """Collect the component names in a recipe's tables, registered or not."""
    evaluation, networks = tables.get("evaluation"), tables.get("networks")
    nested = [evaluation.get("extractors")] if isinstance(evaluation, Mapping) else []
    listed = [*tables.values(), *nested, *(networks.values() if isinstance(networks, Mapping) else ())]
    parts = [part for table in listed for part in (table if isinstance(table, list) else [table])]
    names = [part.get("name") for part in parts if isinstance(part, Mapping)]
    return {name for name in names if isinstance(name, str)}


def _explained(text: str, tables: Mapping[str, Any], manager: PluginManager) -> list[Problem]:
    """Explain the errors of a recipe, checked against every installed component."""
    model = recipe_model(manager.registries, roles=roles_of(tables, manager.registries))
    try:
        model.model_validate_json(text, strict=True)
    except ValidationError as error:
        return explain(error, tables, model, manager)
    raise AssertionError("a recipe that does not pass is wrong whatever else is installed")
