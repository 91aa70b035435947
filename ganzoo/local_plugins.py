"""Plugin files that a recipe names: where they lie, and when they may be imported."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ganzoo.errors import RequestError
from ganzoo.overrides import apply_overrides
from ganzoo.plugin_manager import PluginManager
from ganzoo.recipe import Recipe, parse_recipe, read_toml
from ganzoo.variables import TRUST_VARIABLE

FOLDER = "plugins"
"""Where a run directory keeps the plugin files of its run."""


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


def open_run_recipe(
    tables: Mapping[str, Any],
    folder: Path,
    manager: PluginManager,
    overrides: Iterable[str] = (),
    *,
    trust: bool | None = None,
) -> tuple[Recipe, PluginManager]:
    """The recipe of a run directory, and the plugins with those of the files that lie in it.

    Args:
        tables: of its recipe.
        folder: the run directory.
        manager: the installed plugins.
        overrides: "path.to.key=value" each.
        trust: whether these files may be imported; None: as `GANZOO_TRUST_PLUGINS` says, which is no by default.

    Raises:
        RequestError: it has plugin files and is not trusted, or they are not where a run keeps them.
    """
    tables = apply_overrides(tables, overrides)
    files = named_files(tables)
    for file in files:
        if (folder / file).resolve().parent != (folder / FOLDER).resolve():
            raise RequestError(f"{folder}: plugins.files: {file} lies outside the run's own folder {FOLDER}")
    missing = {Path(file).name for file in files} - {file.name for file in manager.files}
    if missing and not (trusted() if trust is None else trust):
        raise RequestError(
            f"{folder}: has plugin files of its own: {', '.join(files)}. To open the run executes them. "
            f"Where you trust them, give --trust (in Python trust_plugins=True)"
        )
    if missing:
        manager = manager.with_files([folder / file for file in files])
    return parse_recipe(tables, manager, source=str(folder / "recipe.toml")), manager


def named_files(tables: Mapping[str, Any]) -> list[str]:
    """The plugin files that a recipe names, as it names them; none where it is wrong there, which its check tells."""
    plugins = tables.get("plugins")
    files = plugins.get("files", []) if isinstance(plugins, Mapping) else []
    return list(files) if isinstance(files, list | tuple) and all(isinstance(file, str) for file in files) else []


def trusted() -> bool:
    """Whether `GANZOO_TRUST_PLUGINS` says that plugin files of runs, and of recipes to be checked, may be imported."""
    return os.environ.get(TRUST_VARIABLE, "").lower() in ("1", "true", "yes")
