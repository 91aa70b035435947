"""Changes to a recipe from outside its file: `--set trainer.batch_size=64`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ganzoo.errors import RequestError
from ganzoo.text import parse_toml

DEEPEST = 100
"""Tables in tables that a key leads through at most."""


def apply_overrides(tables: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """A copy of `tables` with each "path.to.key=value" set; a value that is not TOML is taken as text.

    A run has one length: where steps are set, the epochs of the file go, and the other way round.

    Raises:
        RequestError: an override has no "=" or leads through something that is not a table.
    """
    result: dict[str, Any] = _plain(tables)
    set_keys = set()
    for override in overrides:
        path, equals, text = override.partition("=")
        keys = path.strip().split(".")
        if not equals or not all(keys) or len(keys) > DEEPEST:
            raise RequestError(f'--set {_shown(override)}: write KEY=VALUE, such as "trainer.batch_size=64"')
        _set(result, keys, toml_value(text.strip()), override)
        set_keys.add(".".join(keys))
    for length, other in (("steps", "epochs"), ("epochs", "steps")):
        if f"run.{length}" in set_keys and f"run.{other}" not in set_keys and isinstance(result["run"], dict):
            result["run"].pop(other, None)
    return result


def toml_value(text: str) -> Any:
    """A value as it was written: TOML, or else plain text."""
    try:
        return _plain(parse_toml(f"value = {text}")["value"])
    except ValueError:
        return text


def _shown(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:200]}…"


def _plain(value: Any) -> Any:
    """A copy of a value as JSON has it, in which dates are text."""
    return json.loads(json.dumps(value, default=str))


def _set(table: Any, keys: Sequence[str], value: Any, override: str) -> None:
    for depth, key in enumerate(keys):
        place = ".".join(keys[:depth])
        if isinstance(table, list):
            if key not in map(str, range(len(table))):
                what = f"{place} is a list of {len(table)}; {_shown(key)} is not one of its places"
                raise RequestError(f"--set {_shown(override)}: {what}")
            index: Any = int(key)
        elif isinstance(table, dict):
            index = key
        else:
            raise RequestError(f"--set {_shown(override)}: {place} is a value, not a table, so it has no {key}")
        if depth == len(keys) - 1:
            table[index] = value
        else:
            table = table[index] if isinstance(table, list) else table.setdefault(index, {})
