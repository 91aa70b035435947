"""Compare what a run goes on with to what it was trained with: `environment.json`, which keeps its history."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ganzoo.errors import RequestError
from ganzoo.storage.run_directory import RunDirectory
from ganzoo.terminal import warn

ENVIRONMENT = "environment.json"
CODE = "plugin_code"
CORE = "ganzoo-core"
SINCE = "from_step"
HISTORY = "history"
AFFECT_BITS = ("ganzoo", "python", "torch", "torchvision", "platform", "device", "device_name", "cpu", "precision")
"""Entries that may change the last bits of what is computed, beside the numbers of processes and threads."""


def check_changes(directory: RunDirectory, now: Mapping[str, Any], *, accept: bool) -> None:
    """Refuse to go on with other data or other code of plugins, and tell of what may change the bits.

    Args:
        directory: of the run.
        now: what `environment.json` would have.
        accept: go on with other data or code too.

    Raises:
        RequestError: the data or a plugin has changed; the text says which.
    """
    before = directory.read_json(ENVIRONMENT)
    if not all(isinstance(before.get(key), Mapping) for key in ("data", CODE)):
        warn(f"{directory.path / ENVIRONMENT}: does not say what data and code the run was trained with")
        return
    others = [*changed_code(before[CODE], now[CODE])]
    if different := [key for key in now["data"] if before["data"].get(key) != now["data"][key]]:
        others.insert(0, f"the dataset has changed: {_told(different, before['data'], now['data'])}")
    if others and not accept:
        raise refusal(f"{directory}: would go on with others than it was trained with:", others)
    for text in others:
        warn(f"{text}; accepted, and the run can no longer be repeated from its recipe")
    counts = [key for key in ("processes", "threads") if before.get(key) != now[key]]
    told = [f"{_shown(now[key])} {key} (before {_shown(before.get(key))})" for key in counts]
    if differing := [key for key in AFFECT_BITS if before.get(key) != now[key]]:
        told.append(_told(differing, before, now))
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


def write_environment(directory: RunDirectory, now: Mapping[str, Any], step: int) -> None:
    """Write `environment.json` for the steps that follow `step`; what held for earlier ones is under "history"."""
    before = directory.read_json(ENVIRONMENT) if step else {}
    history, since = before.pop(HISTORY, []), before.pop(SINCE, 0)
    if before == now:
        step = since
    elif before:
        history = [*(history if isinstance(history, list) else []), {SINCE: since, **before}]
    directory.write_json(ENVIRONMENT, {SINCE: step, **now, HISTORY: history})


def _told(keys: Iterable[str], before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {_shown(now[key])} (before {_shown(before.get(key))})" for key in keys)


def _shown(value: Any) -> str:
    """Return a value as JSON in ASCII, since it may come from an untrusted file; words without their quotes."""
    return json.dumps(value).strip('"')
