"""Read a recipe, apply its overrides, and check it against the registered components."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError, create_model

from ganzoo.components.options import ROLES, Options, TrainerConfig
from ganzoo.errors import Problem, RecipeError, RequestError
from ganzoo.recipe.messages import explain, toml_location
from ganzoo.recipe.model import NamedTables, Recipe
from ganzoo.recipe.overrides import Overrides, apply_overrides, override_pairs, plain, plugins_in
from ganzoo.recipe.swap import Swaps
from ganzoo.recipe.validate import SINGLE_QUOTES, unfit_target, unmet_conditions, unusable_values
from ganzoo.registry import TRUST_VARIABLE
from ganzoo.registry.plugin_manager import PluginManager
from ganzoo.registry.registry import Registries, telling_types
from ganzoo.text import parse_toml
from ganzoo.untrusted import read_bytes

Source = str | Path | Mapping[str, Any] | Recipe
"""A TOML file, whose plugin files are relative to its folder; or TOML text (with a line break in it), tables or a
checked recipe, whose plugin files are relative to the working directory."""

Note = Callable[[str], None]


def load_recipe(
    source: Source, manager: PluginManager, overrides: Overrides = (), *, trust: bool = True, note: Note | None = None
) -> tuple[Recipe, PluginManager]:
    """Read and check a recipe; return it and the plugins, those of its plugin files included.

    Args:
        source: file, text, tables or recipe.
        manager: the installed plugins.
        overrides: changes to the recipe.
        trust: whether the plugin files may be imported, which executes them.
        note: called with what overrides made the recipe lose; default: it is printed as a warning.

    Raises:
        RequestError: the recipe, or a plugin file that it names, cannot be used.
    """
    tables, pairs, files, name = read_tables(source, overrides)
    if trust:
        manager = manager.with_files(files)
    return parse_recipe(tables, manager, pairs, source=name, note=note), manager


def source_name(source: Source) -> str:
    """Return the name of a recipe's source in messages: its path, or "recipe" where it is in memory."""
    return str(source) if isinstance(source, Path) or (isinstance(source, str) and "\n" not in source) else "recipe"


@contextmanager
def naming_source(source: Source) -> Iterator[None]:
    """Begin the errors in a recipe that show while its parts are built with the name of its source."""
    try:
        yield
    except RecipeError as error:
        raise RecipeError(source_name(source), error.problems) from error.__cause__


def read_tables(
    source: Source, overrides: Overrides = ()
) -> tuple[dict[str, Any], list[tuple[str, Any]], list[Path], str]:
    """Return the tables of a recipe, the overrides still to be applied, its plugin files, and its name in messages.

    The overrides name plugin files by their absolute paths.

    Raises:
        RequestError: the file cannot be read as TOML, or an override is not valid.
    """
    folder, name = Path(), source_name(source)
    if isinstance(source, str) and "\n" in source:
        tables = _parsed(source.encode(), name)
    elif isinstance(source, str | Path):
        folder = Path(source).parent
        tables = read_toml(Path(source))
    else:
        tables = source.to_dict() if isinstance(source, Recipe) else plain(source)
    pairs = override_pairs(overrides)
    files = [(folder / file).resolve() for file in plugins_in(apply_overrides(tables, pairs), "files")]
    if files:
        pairs.append(("plugins.files", [str(file) for file in files]))
    return tables, pairs, files, name


def parse_recipe(
    tables: Mapping[str, Any],
    manager: PluginManager,
    overrides: Overrides = (),
    *,
    source: str = "recipe",
    note: Note | None = None,
    foreign: bool = False,
) -> Recipe:
    """Check tables against the installed components and return the recipe.

    Args:
        tables: as read from TOML.
        manager: the plugins, those of the recipe's own files among them.
        overrides: changes to the tables; options that a part lacks which they put in another's place are dropped.
        source: name of the recipe in error messages.
        note: called with what was dropped; default: it is printed as a warning.
        foreign: whether the tables come from a run directory; then nothing is downloaded to a folder that they name,
            and a target that overrides leave alone is not checked again.

    Raises:
        RecipeError: lists every problem with its TOML path.
        RequestError: an override is not valid.
    """
    pairs = override_pairs(overrides)
    tables, checked = _checked(tables, manager, pairs, note)
    required = plugins_in(tables, "requires")
    problems = [Problem("plugins.requires", text) for each in required for text in manager.lacking(each)]
    problems += unmet_conditions(checked, manager) if isinstance(checked, Recipe) else checked
    changed = [key for key, _ in pairs]
    if isinstance(checked, Recipe) and (not foreign or any(key.startswith("run.target") for key in changed)):
        problems += unfit_target(checked, manager)
    told = {problem.path for problem in problems}
    for problem in unusable_values(tables):
        if not told & {problem.path, re.sub(r"(\.[0-9]+)+$", "", problem.path)}:  # by itself, or with its list
            problems.append(problem)
    if problems or not isinstance(checked, Recipe):
        raise RecipeError(source, problems)
    if foreign and not any(re.fullmatch(r"dataset\.(.+\.)?(root|download)", key) for key in changed):
        checked.mark_foreign()
    return checked


def change_tables(tables: Mapping[str, Any], manager: PluginManager, overrides: Overrides) -> dict[str, Any]:
    """Return tables with overrides, and without the options that a part lacks which they put in another's place.

    The tables, as read from TOML, need not be valid. Nothing is told.

    Raises:
        RequestError: an override is not valid.
    """
    return _checked(tables, manager, override_pairs(overrides), note=lambda _: None)[0]


def _checked(
    tables: Mapping[str, Any], manager: PluginManager, pairs: list[tuple[str, Any]], note: Note | None
) -> tuple[dict[str, Any], Recipe | list[Problem]]:
    """Return the tables with overrides, and the recipe or the problems of each table by itself."""
    changed = apply_overrides(tables, pairs)
    swaps = Swaps(tables, changed, pairs)
    checked: Recipe | list[Problem] | None = None
    while checked is None:
        with telling_types(manager.registries):
            # A model of the named components only: one of all installed takes longer than the rest of a command.
            model = recipe_model(manager.registries, _named(changed), roles_of(changed, manager.registries))
            try:
                recipe = model.model_validate_json(json.dumps(changed), strict=True)
                mended = swaps.mend_images(recipe) or swaps.mend_unmet(unmet_conditions(recipe, manager))
                checked = None if mended else recipe
            except ValidationError as error:
                if not swaps.mend(error, model):
                    checked = _problems(changed, manager)
    for text in swaps.notes():
        (note or _warn)(text)
    return changed, checked


def _warn(text: str) -> None:
    from ganzoo.terminal import warn

    warn(text)


def trusted() -> bool:
    """Check whether `GANZOO_TRUST_PLUGINS` allows importing the plugin files of runs and of recipes to be checked."""
    return os.environ.get(TRUST_VARIABLE, "").lower() in ("1", "true", "yes", "on")


def recipe_model(
    registries: Registries, names: Collection[str] | None = None, roles: Mapping[str, str] | None = None
) -> type[Recipe]:
    """Build the pydantic model of a recipe from the registered components.

    Args:
        registries: those of the components.
        names: names of the components to include; default: all.
        roles: kinds of the trainer's networks by name; default: [networks] is not checked.
    """
    entries = tuple((entry.name, entry.options) for registry in registries.all() for entry in registry)
    chosen = None if names is None else frozenset(names) & {name for name, _ in entries}
    return _recipe_model(registries, entries, chosen, None if roles is None else tuple(roles.items()))


@lru_cache(maxsize=32)  # pydantic takes longer to build one than a step of training takes
def _recipe_model(
    registries: Registries, entries: object, names: Collection[str] | None, roles: tuple[tuple[str, str], ...] | None
) -> type[Recipe]:
    """Build the model for the components that are registered now, `entries`."""
    inside: dict[str, dict[str, Any]] = {"": {}}
    for registry in registries.all():
        outer, _, table = registry.kind.table.rpartition(".")
        if registry.kind.keyed:
            inside[""][table] = registry.tables_type(NamedTables)
        elif table:
            of: Any = registry.options_type(names)
            inside.setdefault(outer, {})[table] = tuple[of, ...] if registry.kind.many else of
    types = inside.pop("")
    if roles is not None:
        further = {role: (types[kind], None) for role, kind in roles if role not in ROLES}
        types["networks"] = create_model("NetworkTables", __base__=Options, **further)  # type: ignore[call-overload]
    for table, inner in inside.items():
        types[table] = _with_types(Recipe.model_fields[table].annotation, inner)
    model: type[Recipe] = _with_types(Recipe, types)
    return model


def roles_of(tables: Mapping[str, Any], registries: Registries) -> Mapping[str, str] | None:
    """Return the roles of a recipe's trainer; None where it gives no [networks] to check, or its trainer is wrong."""
    config = _trainer_config(tables, registries)
    if "networks" in tables and config is not None:
        with suppress(ValidationError):
            return config.model_validate_json(json.dumps(tables["trainer"]), strict=True).roles
    return None


def _trainer_config(tables: Mapping[str, Any], registries: Registries) -> type[TrainerConfig] | None:
    """Return the options' class of a recipe's trainer, if it is registered."""
    trainer = tables.get("trainer")
    name = trainer.get("name") if isinstance(trainer, Mapping) else None
    return registries.trainers[name].config if isinstance(name, str) and name in registries.trainers else None


def _with_types(model: Any, types: Mapping[str, Any]) -> Any:
    """Derive a model with other types for some of its fields."""
    fields: dict[str, Any] = {}
    for name, of in types.items():
        keyed = isinstance(of, type) and issubclass(of, NamedTables)
        fields[name] = (of, of() if keyed else model.model_fields[name].default)
    return create_model(model.__name__, __base__=model, __doc__=model.__doc__, **fields)


def recipe_schema(registries: Registries) -> dict[str, Any]:
    """Return the JSON schema of a recipe with every installed component."""
    schema = recipe_model(registries).model_json_schema()
    return {**schema, "$schema": "https://json-schema.org/draft/2020-12/schema", "title": "ganzoo recipe"}


LARGEST_FILE = 2**24
"""Largest recipe in bytes."""


def read_toml(path: Path) -> dict[str, Any]:
    """Read the tables of a TOML file.

    Raises:
        RequestError: there is no such file, or it cannot be read.
        RecipeError: it is not TOML.
    """
    try:
        content = read_bytes(path, LARGEST_FILE)
    except FileNotFoundError:
        raise RequestError(f"{path}: there is no such recipe file") from None
    except IsADirectoryError:
        raise RequestError(f"{path}: is a folder; a recipe is one TOML file") from None
    except OSError as error:
        raise RequestError(f"{path}: cannot be read: {error.strerror or error}") from error
    return _parsed(content, str(path))


def _parsed(content: bytes, source: str) -> dict[str, Any]:
    try:
        return parse_toml(recipe_text(content))
    except ValueError as error:
        raise RecipeError(source, [Problem("", f"is not valid TOML: {error}{_escape_hint(error, content)}")]) from error


def recipe_text(content: bytes) -> str:
    """Return the text of a recipe file.

    Raises:
        ValueError: it is not in UTF-8; the text says where, and the cure.
    """
    cure = "and TOML is UTF-8: save it as UTF-8"
    if b"\0" in content[:4]:
        raise ValueError(f"it is UTF-16 text, {cure}")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"line {line} has the byte 0x{content[error.start]:02x} of another encoding, such as Latin-1, {cure}"
        ) from None


def _escape_hint(error: ValueError, content: bytes) -> str:
    """Return the cure for a path of Windows between double quotes, where the error is in such a line."""
    place = re.search(r"at line (\d+)", str(error))
    line = content.splitlines()[int(place[1]) - 1 :][:1] if place else []
    if not line or b"\\" not in line[0] or b'"' not in line[0]:
        return ""
    return f"; between double quotes a backslash begins an escape: {SINGLE_QUOTES}"


def _named(tables: Mapping[str, Any]) -> set[str]:
    """Collect the component names in a recipe's tables, registered or not."""
    evaluation, networks = tables.get("evaluation"), tables.get("networks")
    nested = [evaluation.get(kind) for kind in ("extractors", "metrics")] if isinstance(evaluation, Mapping) else []
    listed = [*tables.values(), *nested, *(networks.values() if isinstance(networks, Mapping) else ())]
    parts = [part for table in listed for part in (table if isinstance(table, list) else [table])]
    names = [part.get("name") if isinstance(part, Mapping) else part for part in parts]
    return {name for name in names if isinstance(name, str)}


def _problems(tables: Mapping[str, Any], manager: PluginManager) -> list[Problem]:
    """Explain every error, checked against all installed components; then check what is right with each other."""
    model = recipe_model(manager.registries, roles=roles_of(tables, manager.registries))
    try:
        model.model_validate_json(json.dumps(tables), strict=True)
    except ValidationError as error:
        right, wrong = _right_tables(error, tables, model)
        trainer = _trainer_config(tables, manager.registries) if "trainer" in wrong else None
        if trainer is not None and trainer.info_for is not TrainerConfig.info_for:
            for role in ROLES:  # whether they fit depends on the trainer's options
                vars(right).pop(role, None)
        problems = [*explain(error, tables, model, manager), *unmet_conditions(right, manager)]
        whole = all(hasattr(right, table) and table not in wrong for table in ("run", "dataset", "evaluation"))
        return [*problems, *unfit_target(right, manager)] if whole else problems
    raise AssertionError("a recipe that does not pass is wrong whatever else is installed")


def _right_tables(error: ValidationError, tables: Mapping[str, Any], model: type[Recipe]) -> tuple[Recipe, set[str]]:
    """Return a recipe of the tables without an error, and the names of the others.

    In a list of tables, None is in the place of one with an error.
    """
    wrong = {tuple(toml_location(detail, tables)[:2]) for detail in error.errors(include_url=False)}
    right: dict[str, Any] = {}
    for name in [] if () in wrong else tables.keys() & model.model_fields.keys():
        value, places = tables[name], {place for place in wrong if place[0] == name}
        if isinstance(value, list) and (name,) not in places:
            right[name] = [each for index, each in enumerate(value) if (name, index) not in places]
        elif not places:
            right[name] = value
    types: dict[str, Any] = {name: (model.model_fields[name].annotation, model.model_fields[name]) for name in right}
    partial = create_model("RightTables", __base__=Options, **types)
    checked = dict(partial.model_validate_json(json.dumps(right), strict=True))
    for name in checked:
        if isinstance(value := tables[name], list):
            rest = iter(checked[name])
            checked[name] = tuple(None if (name, index) in wrong else next(rest) for index in range(len(value)))
    return Recipe.model_construct(**checked), {str(place[0]) for place in wrong if place}
