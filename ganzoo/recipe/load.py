"""Read a recipe, apply its overrides once, and check it against the registered components."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError, create_model

from ganzoo.env import TRUST_VARIABLE
from ganzoo.errors import Problem, RecipeError, RequestError
from ganzoo.recipe.messages import explain
from ganzoo.recipe.model import EvaluationOptions, Recipe
from ganzoo.recipe.overrides import apply_overrides
from ganzoo.recipe.validate import missing_plugins, unfit_parts, unmet_wishes
from ganzoo.registry.plugin_manager import PluginManager
from ganzoo.registry.registry import Registries
from ganzoo.text import parse_toml


def open_recipe(
    recipe: str | Path | Mapping[str, Any] | Recipe,
    manager: PluginManager,
    overrides: Iterable[str] = (),
    *,
    trust: bool = True,
) -> tuple[Recipe, PluginManager]:
    """A checked recipe, and the plugins with those of the files that it names.

    Args:
        recipe: a TOML file, whose plugin files are relative to its folder; or tables, or a checked recipe,
            whose plugin files are relative to the working directory.
        manager: the installed plugins.
        overrides: "path.to.key=value" each.
        trust: whether the plugin files may be imported, which executes them.

    Raises:
        RequestError: the recipe, or a plugin file that it names, cannot be used.
    """
    tables, source = read_tables(recipe, overrides)
    files = named_files(tables)
    if files and trust:
        manager = manager.with_files([Path(file) for file in files])
    return parse_recipe(tables, manager, source=source), manager


def read_tables(
    recipe: str | Path | Mapping[str, Any] | Recipe, overrides: Iterable[str] = ()
) -> tuple[dict[str, Any], str]:
    """The tables of a recipe as `open_recipe` takes it, its plugin files by their absolute paths; and where it is from.

    Raises:
        RequestError: the file cannot be read as TOML, or an override is none.
    """
    folder, source = Path(), "recipe"
    if isinstance(recipe, str | Path):
        folder, source = Path(recipe).parent, str(recipe)
        tables: Mapping[str, Any] = read_toml(Path(recipe))
    else:
        tables = recipe.to_dict() if isinstance(recipe, Recipe) else recipe
    changed = apply_overrides(tables, overrides)
    files = named_files(changed)
    if files:
        changed["plugins"]["files"] = [str((folder / file).resolve()) for file in files]
    return changed, source


def named_files(tables: Mapping[str, Any]) -> list[str]:
    """The plugin files that a recipe names, as it names them; none where it is wrong there, which its check tells."""
    plugins = tables.get("plugins")
    files = plugins.get("files", []) if isinstance(plugins, Mapping) else []
    return list(files) if isinstance(files, list | tuple) and all(isinstance(file, str) for file in files) else []


def trusted() -> bool:
    """Whether `GANZOO_TRUST_PLUGINS` says that plugin files of runs, and of recipes to be checked, may be imported."""
    return os.environ.get(TRUST_VARIABLE, "").lower() in ("1", "true", "yes")


def recipe_model(registries: Registries, names: Collection[str] | None = None) -> type[Recipe]:
    """The pydantic model of a recipe whose component tables are those that are registered.

    Args:
        registries: of the components.
        names: of the components that are wanted; left out: all.
    """
    types: dict[str, Any] = {
        "dataset": registries.datasets.options_type(names),
        "generator": registries.generators.options_type(names),
        "discriminator": registries.discriminators.options_type(names),
        "loss": registries.losses.options_type(names),
        "penalties": tuple[registries.penalties.options_type(names), ...],  # type: ignore[misc]
        "trainer": registries.trainers.options_type(names),
        "evaluation": evaluation_model(registries, names),
    }
    tables: dict[str, Any] = {table: (of, Recipe.model_fields[table].default) for table, of in types.items()}
    return create_model("Recipe", __base__=Recipe, __doc__=Recipe.__doc__, **tables)


def recipe_schema(registries: Registries) -> dict[str, Any]:
    """The JSON schema of a recipe, with every component that is installed."""
    schema = recipe_model(registries).model_json_schema()
    return {**schema, "$schema": "https://json-schema.org/draft/2020-12/schema", "title": "ganzoo recipe"}


LARGEST = 2**24
"""Bytes of a recipe at most: a link to a device never ends."""


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file.

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


def parse_recipe(
    tables: Mapping[str, Any],
    manager: PluginManager,
    *,
    source: str = "recipe",
    overrides: Iterable[str] = (),
) -> Recipe:
    """The recipe that `tables` describe, everything in it checked against what is installed.

    Args:
        tables: as read from TOML.
        manager: the installed plugins.
        source: how error messages name the recipe: its file.
        overrides: "path.to.key=value" each, set before the check.

    Raises:
        RecipeError: with everything that is wrong, each problem with its TOML path.
    """
    tables = apply_overrides(tables, overrides)
    problems = missing_plugins(tables, manager)
    text = json.dumps(tables)
    try:
        # To build what checks the options of all that is installed takes longer than all else that a command does.
        recipe = recipe_model(manager.registries, _named(tables)).model_validate_json(text, strict=True)
    except ValidationError:
        problems += _explained(text, tables, manager)
        raise RecipeError(source, problems) from None
    problems += [*unfit_parts(recipe), *unmet_wishes(recipe)]
    if problems:
        raise RecipeError(source, problems)
    return recipe


def load_recipe(path: str | Path, manager: PluginManager, overrides: Iterable[str] = ()) -> Recipe:
    """Read and check a recipe file.

    Raises:
        RequestError: the file cannot be read.
        RecipeError: with everything that is wrong in it.
    """
    path = Path(path)
    return parse_recipe(read_toml(path), manager, source=str(path), overrides=overrides)


def _named(tables: Mapping[str, Any]) -> set[str]:
    """The names of components that a recipe's tables give, right or not."""
    evaluation = tables.get("evaluation")
    nested = [evaluation.get("extractors")] if isinstance(evaluation, Mapping) else []
    listed = [*tables.values(), *nested]
    parts = [part for table in listed for part in (table if isinstance(table, list) else [table])]
    names = [part.get("name") for part in parts if isinstance(part, Mapping)]
    return {name for name in names if isinstance(name, str)}


def _explained(text: str, tables: Mapping[str, Any], manager: PluginManager) -> list[Problem]:
    """What is wrong with a recipe that does not pass, in view of all components that there are."""
    model = recipe_model(manager.registries)
    try:
        model.model_validate_json(text, strict=True)
    except ValidationError as error:
        return explain(error, tables, model, manager)
    raise AssertionError("a recipe that does not pass is wrong whatever else is installed")


def evaluation_model(registries: Registries, names: Collection[str] | None = None) -> type[EvaluationOptions]:
    """The model of [evaluation] whose extractors are those that are registered, or those of them in `names`."""
    field = EvaluationOptions.model_fields["extractors"]
    registered: Any = tuple[registries.extractors.options_type(names), ...]  # type: ignore[misc]
    return create_model(
        "EvaluationOptions",
        __base__=EvaluationOptions,
        __doc__=EvaluationOptions.__doc__,
        extractors=(registered, field.default),
    )
