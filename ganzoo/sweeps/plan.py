"""The plan of a sweep: `--vary KEY=A,B` as named combinations, each checked as a recipe before any run starts."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ganzoo.components.observer import AgentSweep
from ganzoo.components.options import TrackerConfig
from ganzoo.errors import Problem, RecipeError, RequestError
from ganzoo.recipe.load import Source, change_tables, parse_recipe, read_tables
from ganzoo.recipe.model import Recipe
from ganzoo.recipe.overrides import Overrides, override_pairs, plain, toml_text, toml_value
from ganzoo.recipe.validate import lint, untaken_score
from ganzoo.registry.plugin_manager import PluginInfo, PluginManager
from ganzoo.runtime.environment import called_plugins, plugin_code
from ganzoo.storage.disk import expand_user
from ganzoo.storage.summary import SCORE, TIME
from ganzoo.text import LARGEST_INT, unused_name

Vary = Mapping[str, Sequence[Any]]
"""Values of each varied key."""
Choice = Mapping[str, Any]
"""One value for each varied key."""

NAME_LENGTH = 80
OWNED = {
    "run.seed": "seeds are asked for with --seeds",
    "run.name": "a sweep names its runs itself",
    "run.root": "a sweep keeps its runs in its own directory",
}

MOST_RUNS = 10_000
"""Most runs of a sweep."""


@dataclass(frozen=True)
class Combination:
    """One combination of the varied values, with the name of its folder and its recipe for the first seed."""

    name: str
    choice: Choice
    recipe: Recipe


@dataclass(frozen=True)
class Plan:
    """The runs of a sweep: all combinations of the grid `vary`, with each of the seeds.

    `tables` is the recipe of the file `source`, changed as `--set` asked, and `root` the folder for the sweep's
    directory. `warnings` are those of the plugins' lints, once each. `plugins` are those that the runs call, and
    `code` the hash of their files; `manager` has those of the recipe's own files too.
    """

    name: str
    root: Path
    source: str
    tables: Mapping[str, Any]
    vary: Vary
    seeds: Sequence[int]
    variants: Sequence[Combination]
    warnings: Sequence[str]
    plugins: Sequence[PluginInfo]
    code: Mapping[str, str]
    manager: PluginManager


def make_plan(
    recipe: Source, vary: Vary, seeds: int, overrides: Overrides, manager: PluginManager, *, name: str | None = None
) -> Plan:
    """Plan a sweep, checking every combination as a recipe; for the arguments see `sweep`.

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
    original, changes, files, source = read_tables(recipe, changes)
    manager = manager.with_files(files)
    tables = change_tables(original, manager, changes)  # each variant notes what they drop
    run = tables.get("run")  # not checked yet
    choices = [dict(zip(vary, values, strict=True)) for values in itertools.product(*vary.values())]
    named = names(choices, str(run.get("name", "sweep")) if isinstance(run, Mapping) else "sweep")
    parsed, notes = _parse_all(original, changes, named, manager, source)
    some = next(iter(parsed.values()))
    if some.run.seed + seeds - 1 > LARGEST_INT:
        raise RequestError(
            f"--seeds {seeds}: from run.seed = {some.run.seed} they go beyond {LARGEST_INT}, the largest"
        )
    name = name or f"{some.run.name}-sweep"
    if Path(name).name != name or name.startswith(".") or not name.isprintable():
        raise RequestError(f"--name {json.dumps(name)}: must be a folder's name, such as mnist-losses")
    warnings = dict.fromkeys(_placed(text, where, len(named)) for text, where in notes.items())
    for variant, each in parsed.items():
        for problem in lint(each, manager):
            warnings[str(problem) if len(parsed) == 1 else f"{variant}: {problem}"] = None
    called = dict.fromkeys(plugin for each in parsed.values() for plugin in called_plugins(each, manager))
    return Plan(
        name=name,
        root=expand_user(some.run.root),
        source=source,
        tables=tables,
        vary=vary,
        seeds=range(some.run.seed, some.run.seed + seeds),
        variants=[Combination(variant, named[variant], each) for variant, each in parsed.items()],
        warnings=list(warnings),
        plugins=list(called),
        code=plugin_code(called, manager.code),
        manager=manager,
    )


def parse_vary(texts: Iterable[str]) -> dict[str, list[Any]]:
    """Read the grid that `--vary KEY=A,B` options describe; None for an empty value.

    Raises:
        RequestError: one has no "=", or a key that another has.
    """
    grid: dict[str, list[Any]] = {}
    for text in texts:
        key, equals, values = (part.strip() for part in text.partition("="))
        if not equals or not all(key.split(".")):
            raise RequestError(f'--vary {text}: write KEY=VALUE,VALUE, such as "loss.name=non_saturating,hinge"')
        if key in grid:
            raise RequestError(f"--vary {text}: {key} is varied twice; give all its values in one --vary")
        grid[key] = [toml_value(part) if part else None for part in _split(values)]
    return grid


def check_vary(vary: Vary) -> None:
    """Check that the combinations of a grid can be told apart.

    Raises:
        RequestError: a key has no value, None, the same value twice, or is not for a sweep to vary.
    """
    for key, values in vary.items():
        if key in OWNED:
            raise RequestError(f"--vary {key}: cannot be varied: {OWNED[key]}")
        if not values or None in values:
            raise RequestError(f"--vary {key}: has an empty value; write KEY=VALUE,VALUE")
        written = [toml_text(value) for value in values]  # in Python, True == 1
        again = [text for text in written if written.count(text) > 1]
        if again:
            raise RequestError(f"--vary {key}: has the value {again[0]} twice")


def names(
    choices: Sequence[Choice], otherwise: str, known: Mapping[str, Choice | None] | None = None
) -> dict[str, Choice]:
    """Return a folder name for each choice: its values, with the keys of those that are not names themselves.

    Args:
        choices: all different.
        otherwise: the name without varied keys.
        known: names given before, which stay; None for a name that no choice may have.
    """
    named: dict[str, Choice] = {}
    taken: dict[str, Choice | None] = {**(known or {})}
    for choice in choices:
        earlier = [name for name, other in taken.items() if other is not None and dict(other) == dict(choice)]
        words = "-".join(filter(None, _words(choice))) or otherwise
        words = re.sub(r"\.(?!\d)", "-", words)  # a folder with the name of a file would be refused
        # Case is ignored, as some file systems do.
        name = earlier[0] if earlier else unused_name(words[:NAME_LENGTH].rstrip("-._"), taken, fold=str.casefold)
        taken[name] = named[name] = choice
    return named


def settings(choice: Choice) -> list[str]:
    """Return the overrides of a choice."""
    return [f"{key}={toml_text(value)}" for key, value in choice.items()]


def split_ranges(grid: Vary) -> tuple[dict[str, Sequence[Any]], dict[str, tuple[float, float]]]:
    """Return a grid with both ends in the place of each range, such as "1e-5..1e-3", and the ranges."""
    ranges = {}
    for key, values in grid.items():
        ends = [toml_value(end) for end in values[0].split("..")] if [str] == [*map(type, values)] else []
        if len(ends) == 2 and all(type(end) in (int, float) for end in ends) and ends[0] < ends[1]:
            ranges[key] = (ends[0], ends[1])
    return {**grid, **ranges}, ranges


def agent_sweep(plan: Plan, overrides: Overrides, tracker: TrackerConfig, **search: Any) -> AgentSweep:
    """Return the sweep as a tracker's agents run it, with the `overrides` of `--set`; `search` says how they choose.

    Raises:
        RequestError: they cannot choose so, or no run sends the metric; the text says what is missing.
    """
    method, metric, ranges = search.get("method"), search.get("metric"), search.get("ranges", {})
    if method == "bayes" and not metric:
        raise RequestError("--method bayes: name what to optimize, such as --metric score/fd_classifier")
    if method != "bayes" and metric:
        raise RequestError(f"--metric {metric}: is for --method bayes")
    if method != "bayes" and search.get("goal"):
        raise RequestError(f"--goal {search['goal']}: is for --method bayes")
    if metric:
        _check_metric(metric, plan)
    fixed = dict(override_pairs(overrides))
    fixed |= {f"tracking.{tracker.name}.{key}": value for key, value in tracker.sweep_options(plan.name).items()}
    words = [word for override in settings(fixed) for word in ("--set", override)]
    listed = {key: each for key, each in plan.vary.items() if key not in ranges}
    values: dict[str, Sequence[Any]] = {key: list(map(_argument, each)) for key, each in listed.items()}
    command = ["ganzoo", "run", plan.source, *words]
    search["goal"] = search.get("goal") or "minimize"
    return AgentSweep(plan.name, plan.source, command, values | {"run.seed": plan.seeds}, **search)


def _check_metric(metric: str, plan: Plan) -> None:
    """Check that every variant may send a metric, where it is a score or the time to a target.

    Raises:
        RequestError: one cannot.
    """
    for recipe in (variant.recipe for variant in plan.variants):
        if metric.startswith(SCORE):
            for problem in untaken_score(metric.removeprefix(SCORE), f"--metric {metric}", recipe, plan.manager):
                raise RequestError(str(problem))
        elif metric == TIME and recipe.run.target is None:
            raise RequestError(f"--metric {metric}: the recipe has no target: set run.target.score, and below or above")


def _argument(value: Any) -> int | float | str:
    """Return a value of which the argument reads the same as `text`.

    Numbers and plain words are as they are. Anything else is TOML: Python's True is none.
    """
    simple = isinstance(value, str | int | float) and not isinstance(value, bool)
    return value if simple and toml_value(str(value)) == value else toml_text(value)


def _split(text: str) -> Iterator[str]:
    """Split at commas outside brackets and quotes."""
    part = ""
    for piece in text.split(","):
        part += piece
        bare = re.sub(r"'[^']*'|\"[^\"]*\"", "", part)
        if "'" in bare or '"' in bare or len(re.findall(r"[\[{]", bare)) != len(re.findall(r"[\]}]", bare)):
            part += ","
        else:
            yield part.strip()
            part = ""
    if part:
        yield part.removesuffix(",").strip()


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


def _words(choice: Choice) -> Iterator[str]:
    """Return the words of a choice's name: `hinge`, `lr-2e-4`, `dcgan-width-32`."""
    for key, value in choice.items():
        last = key.split(".")[-1]
        tables = [value] if isinstance(value, dict) else value
        if isinstance(value, str):
            text = value
        elif isinstance(tables, list) and all(isinstance(each, dict) for each in tables):
            text = " ".join(
                str(word) if option == "name" else f"{option} {word}"
                for each in tables
                for option, word in sorted(each.items(), key=lambda item: item[0] != "name")
            )
            text = text or f"no {last}"
            if tables and "name" not in tables[0]:  # a schedule
                text = f"{last} {text}"
        else:
            text = f"{last} {toml_text(value)}"
        text = re.sub(r"(?<=\de)\+", "", text)  # 1e+16 is no 1e-16
        yield re.sub(r"[^A-Za-z0-9._]+", "-", text).strip("-._")
