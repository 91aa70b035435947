"""Compare what a run goes on with to what it was trained with: `environment.json`, which keeps its history."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any

from ganzoo.errors import RequestError
from ganzoo.recipe.overrides import flatten, plain
from ganzoo.storage.run_directory import RunDirectory
from ganzoo.terminal import warn
from ganzoo.text import printable

ENVIRONMENT = "environment.json"
DATA, CODE, OPTIONS, SINCE, HISTORY = "data", "plugin_code", "options", "from_step", "history"
APART = ("run.seed", "run.name", "run.root", "plugins", "observers", "tracking", "evaluation", "samples", "checkpoint")
"""Options that do not affect training: a run's seed, name and place, and how it is tracked, scored and saved."""
CORE = "ganzoo-core"
SOFTWARE = ("ganzoo", "python", "torch", "torchvision", "platform")
AFFECT_BITS = ("processes", "threads", *SOFTWARE, "device", "device_name", "cpu", "precision")
"""Entries that may change the last bits of what is computed."""


def check_changes(directory: RunDirectory, now: Mapping[str, Any], *, accept: bool) -> None:
    """Refuse to go on with other data or other code of plugins, and tell of other options and of other bits.

    `now` is what `environment.json` would have; with `accept` a run goes on with other data or code too.

    Raises:
        RequestError: the data or a plugin has changed; the text says which.
    """
    before = directory.read_json(ENVIRONMENT)
    if not all(isinstance(before.get(key), Mapping) for key in (DATA, CODE)):
        warn(f"{directory.path / ENVIRONMENT}: does not say what data and code the run was trained with")
        return
    others = [*_changes(before, now, DATA), *_changes(before, now, CODE)]
    if others and not accept:
        raise refusal(f"{directory}: would go on with others than it was trained with:", others)
    for text in [*others, *_changes(before, now, OPTIONS)]:
        warn(f"{text}; accepted, and the run can no longer be repeated from its recipe")
    differing = [key for key in AFFECT_BITS if before.get(key) != now[key]]
    told = [_told(differing, before, now)] if differing else []
    if before[CODE].get(CORE) != now[CODE].get(CORE) and "ganzoo" not in differing:
        told.append("other code of ganzoo-core")
    if told:
        warn(
            f"the run goes on with {', '.join(told)}: its state is taken up to the bit, and from here its last bits "
            f"may differ from those of an uninterrupted run"
        )


def refusal(why: str, changes: Iterable[str]) -> RequestError:
    """Return the error for changes that nobody accepted."""
    cure = "Put back what was there, begin anew, or go on with --accept-changes (in Python accept_changes=True)"
    return RequestError("\n".join([why, *(f"  {change}" for change in changes), cure]))


def changed_code(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Yield each plugin whose files are others than before; those that came or went with the recipe are none."""
    for plugin in sorted(before.keys() & now.keys() - {CORE}):
        if before[plugin] != now[plugin]:
            yield f"the plugin {plugin} has changed: {_shown(now[plugin])} (before {_shown(before[plugin])})"


def training_options(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that a step depends on: not the device, nor where data are, nor a length without schedules."""
    options = dict(flatten(plain(recipe)))
    counting = ("run.seed", *(("run.steps", "run.epochs") if any(key.endswith(".until") for key in options) else ()))
    aside = re.compile("|".join((*APART, "run", "watchdog", "device", r".*\.(root|download|placement)$")))
    return {key: value for key, value in options.items() if key in counting or not (aside.match(key) or value == [])}


def changes_on_the_way(environment: Mapping[str, Any]) -> Iterator[str]:
    """Yield with which other data, plugins or options a run was resumed, by its `environment.json`."""
    for before, now in pairwise(_parts(environment)):
        if changes := [text for key in (DATA, CODE, OPTIONS) for text in _changes(before, now, key)]:
            yield f"resumed from step {_shown(now.get(SINCE))}: {'; '.join(changes)}"


def _changes(earlier: Mapping[str, Any], later: Mapping[str, Any], key: str) -> Iterator[str]:
    """Yield how an entry of two environments differs, where both have it; of another component its name alone."""
    before, now = earlier.get(key), later.get(key)
    if not (isinstance(before, Mapping) and isinstance(now, Mapping)):
        return
    if key == CODE:
        yield from changed_code(before, now)
        return
    different = [name for name in {**now, **before} if before.get(name) != now.get(name)]
    others = tuple(name.removesuffix("name") for name in different if name.endswith(".name"))
    if told := [name for name in different if name.endswith(".name") or not name.startswith(others)]:
        yield f"{'the dataset has' if key == DATA else 'options have'} changed: {_told(told, before, now)}"


def write_environment(directory: RunDirectory, now: Mapping[str, Any], step: int) -> None:
    """Write `environment.json` for the steps that follow `step`; what held for earlier ones is under "history"."""
    before = directory.read_json(ENVIRONMENT)
    parts = [each for each in _parts(before) if isinstance(since := each.get(SINCE), int) and since < step]
    if parts and {**parts[-1], SINCE: step} == {SINCE: step, **now}:
        step = parts.pop()[SINCE]
    directory.write_json(ENVIRONMENT, {SINCE: step, **now, HISTORY: parts})


def _parts(environment: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return what held for each part of a run, the last one last."""
    earlier, last = environment.get(HISTORY), {key: value for key, value in environment.items() if key != HISTORY}
    return [each for each in [*(earlier if isinstance(earlier, list) else []), last] if isinstance(each, Mapping)]


def _told(keys: Iterable[str], before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    return ", ".join(f"{printable(key)} {_shown(now.get(key))} (before {_shown(before.get(key))})" for key in keys)


def _shown(value: Any) -> str:
    """Return a value as JSON in ASCII, since it may come from an untrusted file; words without their quotes."""
    return json.dumps(value).strip('"')
