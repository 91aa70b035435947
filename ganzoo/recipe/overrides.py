"""Override values of a recipe by their dotted keys."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, time
from typing import Any, Literal

import tomli_w

from ganzoo.errors import RequestError
from ganzoo.text import DEEPEST, parse_toml, printable

Overrides = Mapping[str, Any] | Iterable[str | tuple[str, Any]]
"""Values by dotted key, `{"trainer.batch_size": 64}`; or such pairs, or texts as `--set` takes them."""


def apply_overrides(tables: Mapping[str, Any], overrides: Overrides) -> dict[str, Any]:
    """Copy `tables` and set each override in turn.

    A table or list that is not there is made, the latter where a number follows; a number that is the length of a list
    adds to it. None, which TOML has no word for, leaves an option out. Setting steps removes the epochs of the file, or
    the other way round, since a run has one length.

    Raises:
        RequestError: an override is not KEY=VALUE, or its key leads through a value that is not a table.
    """
    result: dict[str, Any] = plain(tables)
    pairs = override_pairs(overrides)
    for key, value in pairs:
        _set(result, key, plain(value))
    keys = {key for key, value in pairs if value is not None}
    for length, other in (("steps", "epochs"), ("epochs", "steps")):
        if f"run.{length}" in keys and f"run.{other}" not in keys and isinstance(result["run"], dict):
            result["run"].pop(other, None)
    return dict(plain(result))


def override_pairs(overrides: Overrides) -> list[tuple[str, Any]]:
    """List overrides of any form as (dotted key, value).

    Raises:
        RequestError: a text is not KEY=VALUE.
    """
    given = overrides.items() if isinstance(overrides, Mapping) else overrides
    return [parse_override(each) if isinstance(each, str) else each for each in given]


def limited_overrides(overrides: Overrides, may: Callable[[str], object], only: str) -> list[tuple[str, Any]]:
    """List overrides of any form as (dotted key, value), where some keys alone can be set.

    Args:
        overrides: in any form.
        may: says of a key whether it can be set.
        only: says in the error which can.

    Raises:
        RequestError: an override is of another key, or a text is not KEY=VALUE.
    """
    pairs = override_pairs(overrides)
    if wrong := [_shown(key) for key, _ in pairs if not may(key)]:
        raise RequestError(f"--set {', '.join(dict.fromkeys(wrong))}: only {only}")
    return pairs


def parse_override(text: str) -> tuple[str, Any]:
    """Read "trainer.batch_size=64" as a dotted key and a value.

    Raises:
        RequestError: it has no "=", or is of bytes that are no text.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise RequestError(
            f"--set {_shown(printable(text))}: is no text in UTF-8: rename a file or folder of such a name"
        ) from None
    key, equals, value = text.partition("=")
    if not equals:
        raise RequestError(f"--set {_shown(text)}: {_FORM}")
    pair = TextPair((key.strip(), toml_value(value.strip())))
    pair.text = value.strip()
    return pair


class TextPair(tuple[str, Any]):
    """A dotted key and its value, with the text of the value, which is meant where the option is a text."""

    text: str


def toml_value(text: str) -> Any:
    """Read a value: TOML, or `True` or `False` as Python writes them, or else plain text."""
    if text in ("True", "False"):
        return text == "True"
    try:
        value = parse_toml(f"value = {text}")["value"]
    except ValueError:
        return text
    return text if isinstance(value, date | time) else plain(value)


def toml_text(value: Any) -> str:
    """Write a value as `toml_value` reads it."""
    bare = isinstance(value, str) and value and toml_value(value) == value == value.strip()
    return value if bare else _toml(value)


def flatten(tables: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every option with its dotted path, those in lists of tables by index: `penalties.0.weight`."""
    for key, value in tables.items():
        of_tables = isinstance(value, list) and all(isinstance(each, Mapping) for each in value)
        inner = {str(index): each for index, each in enumerate(value)} if of_tables else value
        if isinstance(inner, Mapping) and inner:
            yield from flatten(inner, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def plain(value: Any) -> Any:
    """Copy a value by way of JSON, with dates and paths as text, numbers of NumPy and torch as such, and no None."""
    text = json.dumps(value, default=lambda each: each.item() if hasattr(each, "item") else str(each))
    return json.loads(text, object_hook=lambda table: {key: each for key, each in table.items() if each is not None})


def _toml(value: Any) -> str:
    """Format a value as TOML on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_toml(str(key))} = {_toml(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return tomli_w.dumps({"": value}).partition(" = ")[2].rstrip("\n")


_FORM = 'write KEY=VALUE, such as "trainer.batch_size=64"'


def _shown(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:200]}…"


def _set(tables: dict[str, Any], dotted: str, value: Any) -> None:
    def error(text: str) -> RequestError:
        given = value if isinstance(value, str) else json.dumps(value)
        return RequestError(f"--set {_shown(f'{dotted}={given}')}: {text}")

    keys = dotted.split(".")
    if not all(keys) or len(keys) > DEEPEST:
        raise error(_FORM)
    table: Any = tables
    for depth, key in enumerate(keys):
        place = ".".join(keys[:depth])
        if isinstance(table, list):
            if not table and key != "0":
                raise error(f"the recipe has no list {place}: set the whole list, {place}=[…]")
            if key not in map(str, range(len(table) + 1)):
                raise error(f"{place} is a list of {len(table)}; {_shown(key)} is not one of its places, nor the next")
            index: Any = int(key)
            table += [None] * (index == len(table))
        elif isinstance(table, dict):
            index = key
        else:
            raise error(f"{place} is a value, not a table, so it has no {key}")
        if depth == len(keys) - 1:
            table[index] = value
        elif isinstance(table, list) and table[index] is not None:
            table = table[index]
        else:
            if isinstance(table, list) or index not in table:
                table[index] = [] if keys[depth + 1].isdecimal() else {}
            table = table[index]


def plugins_in(tables: Mapping[str, Any], key: Literal["files", "requires"]) -> list[str]:
    """Return a list of the table [plugins]; empty where it is not valid, which checking the recipe reports."""
    plugins = tables.get("plugins")
    listed = plugins.get(key, []) if isinstance(plugins, Mapping) else []
    return list(listed) if isinstance(listed, list | tuple) and all(isinstance(each, str) for each in listed) else []
