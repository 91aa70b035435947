"""The plan of a sweep: its runs, each checked as a recipe before any starts."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ganzoo.errors import Problem, RecipeError, RequestError
from ganzoo.recipe.lint import lint
from ganzoo.recipe.load import Source, change_tables, named_files, parse_recipe, read_tables
from ganzoo.recipe.model import Recipe
from ganzoo.recipe.overrides import Overrides, apply_overrides, override_pairs, plain, toml_text
from ganzoo.recipe.validate import LARGEST
from ganzoo.registry.plugin_manager import PluginManager
from ganzoo.sweeps.grid import Choice, Vary, check_vary, combinations, names

RUN_NAME = "sweep"
"""Run name of an unnamed recipe while it is checked."""

MOST_RUNS = 10_000
"""Most runs of a sweep."""


@dataclass(frozen=True)
class Variant:
    """One combination of the varied values.

    Attributes:
        name: of the folder of its runs.
        choice: the value of each key.
        recipe: checked, with the seed of its first run.
    """

    name: str
    choice: Choice
    recipe: Recipe


@dataclass(frozen=True)
class Plan:
    """The runs of a sweep.

    Attributes:
        name: of the sweep, and of its group on W&B.
        root: parent folder of the sweep's directory.
        source: the recipe's file, or "recipe".
        tables: of the recipe, changed as `--set` asked.
        vary: the grid.
        seeds: of each variant.
        variants: all combinations.
        warnings: of the plugins' lints, once each.
    """

    name: str
    root: Path
    source: str
    tables: Mapping[str, Any]
    vary: Vary
    seeds: Sequence[int]
    variants: Sequence[Variant]
    warnings: Sequence[str]


def make_plan(
    recipe: Source,
    vary: Vary,
    seeds: int,
    overrides: Overrides,
    manager: PluginManager,
    *,
    name: str | None = None,
) -> Plan:
    """Plan a sweep, checking every combination as a recipe.

    Args:
        recipe: a TOML file, its tables, or a checked recipe.
        vary: the grid.
        seeds: how many runs each combination gets, from the recipe's seed upwards.
        overrides: changes to the recipe, for all runs.
        manager: the installed plugins.
        name: of the sweep; left out: the recipe's with "-sweep".

    Raises:
        RequestError: the request is invalid; for recipes, with all problems of all of them.
    """
    if seeds < 1:
        raise RequestError(f"--seeds {seeds}: must be 1 or more")
    vary = {key: plain(values) for key, values in vary.items()}
    check_vary(vary)
    changes = override_pairs(overrides)
    runs = seeds * math.prod(map(len, vary.values()))
    if runs > MOST_RUNS:
        raise RequestError(
            f"the sweep would be of {runs} runs, and {MOST_RUNS} are the most: take fewer values or seeds"
        )
    both = sorted(set(vary) & {key for key, _ in changes})
    if both:
        raise RequestError(f"{both[0]}: is both varied and set; give it to one of --vary and --set")
    original, changes, source = read_tables(recipe, changes)
    files = [Path(file) for file in named_files(apply_overrides(original, changes))]
    if files:
        manager = manager.with_files(files)
    tables = change_tables(original, manager, changes, note=lambda _: None)  # each variant notes it again
    named = names(combinations(vary), _own_name(tables))
    parsed, notes = _parse_all(original, changes, named, manager, source)
    some = next(iter(parsed.values()))
    if some.run.seed + seeds - 1 > LARGEST:
        raise RequestError(f"--seeds {seeds}: from run.seed = {some.run.seed} they go beyond {LARGEST}, the largest")
    name = name or f"{some.run.name}-sweep"
    _check_name(name)
    warnings = dict.fromkeys(_placed(text, where, len(named)) for text, where in notes.items())
    for variant, each in parsed.items():
        for problem in lint(each, manager):
            warnings[str(problem) if len(parsed) == 1 else f"{variant}: {problem}"] = None
    return Plan(
        name=name,
        root=Path(some.run.root),
        source=source,
        tables=tables,
        vary=vary,
        seeds=range(some.run.seed, some.run.seed + seeds),
        variants=[Variant(variant, named[variant], each) for variant, each in parsed.items()],
        warnings=list(warnings),
    )


def settings(choice: Choice) -> list[str]:
    """Return the overrides of a choice."""
    return [f"{key}={toml_text(value)}" for key, value in choice.items()]


def _parse_all(
    tables: Mapping[str, Any],
    changes: Sequence[tuple[str, Any]],
    named: Mapping[str, Choice],
    manager: PluginManager,
    source: str,
) -> tuple[dict[str, Recipe], dict[str, list[str]]]:
    """Return the recipe of each variant, and the variants of each note of what overrides made a recipe lose."""
    parsed: dict[str, Recipe] = {}
    notes: dict[str, list[str]] = {}
    wrong: dict[Problem, list[str]] = {}
    for name, choice in named.items():
        noted: list[str] = []
        try:
            overrides = [*changes, *override_pairs(settings(choice))]
            parsed[name] = parse_recipe(tables, manager, overrides, source=source, note=noted.append)
        except RecipeError as error:
            for problem in error.problems:
                wrong.setdefault(problem, []).append(name)
        for text in noted:
            notes.setdefault(text, []).append(name)
    if wrong:
        placed = [replace(each, message=_placed(each.message, where, len(named))) for each, where in wrong.items()]
        raise RecipeError(source, placed)
    return parsed, notes


def _placed(text: str, where: Sequence[str], of: int) -> str:
    """Name the variants that a problem is of, unless it is of all."""
    if len(where) == of:
        return text
    shown = ", ".join(where[:4]) + (f" and {len(where) - 4} more" if len(where) > 4 else "")
    return f"{text} (in {shown})"


def _own_name(tables: Mapping[str, Any]) -> str:
    run = tables.get("run")
    return str(run.get("name", RUN_NAME)) if isinstance(run, Mapping) else RUN_NAME


def _check_name(name: str) -> None:
    if Path(name).name != name or name.startswith(".") or not name.isprintable():
        raise RequestError(f"--name {json.dumps(name)}: must be a folder's name, such as mnist-losses")
