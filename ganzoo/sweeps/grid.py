"""The grid of a sweep: `--vary KEY=A,B` as combinations, each with a short name."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ganzoo.errors import RequestError
from ganzoo.recipe.overrides import toml_value
from ganzoo.text import parse_toml

Vary = Mapping[str, Sequence[str]]
"""Values of each varied key, as TOML or plain text."""
Choice = Mapping[str, str]
"""One value for each varied key."""

NAME_LENGTH = 80
OPENING, CLOSING, QUOTES = "[{", "]}", "\"'"
OWNED = {
    "run.seed": "seeds are asked for with --seeds",
    "run.name": "a sweep names its runs itself",
    "run.root": "a sweep keeps its runs in its own directory",
}


def parse_vary(texts: Iterable[str]) -> dict[str, list[str]]:
    """Parse `--vary KEY=A,B` options into a grid.

    Raises:
        RequestError: one has no "=", no value, the same value twice, or a key that a sweep cannot vary.
    """
    grid: dict[str, list[str]] = {}
    for text in texts:
        key, equals, values = (part.strip() for part in text.partition("="))
        if not equals or not all(key.split(".")):
            raise RequestError(f'--vary {text}: write KEY=VALUE,VALUE, such as "loss.name=non_saturating,hinge"')
        if key in grid:
            raise RequestError(f"--vary {text}: {key} is varied twice; give all its values in one --vary")
        grid[key] = list(_split(values))
    check_vary(grid)
    return grid


def check_vary(vary: Vary) -> None:
    """Check the keys and values of a grid.

    Raises:
        RequestError: a key has no value, the same value twice, or cannot be varied by a sweep.
    """
    for key, values in vary.items():
        if key in OWNED:
            raise RequestError(f"--vary {key}: cannot be varied: {OWNED[key]}")
        if not values or not all(values):
            raise RequestError(f"--vary {key}: has an empty value; write KEY=VALUE,VALUE")
        again = [value for value in values if list(values).count(value) > 1]
        if again:
            raise RequestError(f"--vary {key}: has the value {again[0]} twice")


def combinations(vary: Vary) -> list[dict[str, str]]:
    """Return all combinations of one value a key; one empty choice without keys."""
    return [dict(zip(vary, values, strict=True)) for values in itertools.product(*vary.values())]


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
        name = earlier[0] if earlier else _free("-".join(_words(choice)) or otherwise, taken)
        taken[name] = named[name] = choice
    return named


def as_text(value: Any) -> str:
    """Return a value as text for `--set`."""
    if isinstance(value, str):
        return value if value and toml_value(value) == value and value == value.strip() else json.dumps(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(str(key))} = {_quoted(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_quoted(each) for each in value) + "]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _quoted(value: Any) -> str:
    return json.dumps(value) if isinstance(value, str) else as_text(value)


def _split(text: str) -> Iterator[str]:
    """Split at commas outside brackets and quotes."""
    depth, quote, part = 0, "", ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in QUOTES:
            quote = character
        elif character in OPENING:
            depth += 1
        elif character in CLOSING:
            depth -= 1
        elif character == "," and not depth:
            yield part.strip()
            part = ""
            continue
        part += character
    yield part.strip()


def _words(choice: Choice) -> Iterator[str]:
    """Return the words of a choice's name: `hinge`, `lr-2e-4`, `dcgan-width-32`."""
    for key, text in choice.items():
        try:
            value = parse_toml(f"value = {text}")["value"]
        except ValueError:
            value = text
        last = key.split(".")[-1]
        if isinstance(value, str):
            yield from _word(value)
        elif isinstance(value, dict):
            yield from _word(" ".join(_described(value)) or f"no {last}")
        elif isinstance(value, list) and all(isinstance(each, dict) for each in value):
            yield from _word(" ".join(word for each in value for word in _described(each)) or f"no {last}")
        else:
            yield from _word(f"{last} {text}")


def _described(table: Mapping[str, Any]) -> Iterator[str]:
    if "name" in table:
        yield str(table["name"])
    yield from (f"{key} {value}" for key, value in table.items() if key != "name")


def _word(text: str) -> Iterator[str]:
    word = re.sub(r"[^A-Za-z0-9._]+", "-", text).strip("-._")
    if word:
        yield word


def _free(name: str, taken: Mapping[str, object]) -> str:
    """Return this name, with a number appended where it is taken; case is ignored, as some file systems do."""
    name = name[:NAME_LENGTH].rstrip("-._")
    folded = {other.casefold() for other in taken}
    candidates = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
    return next(candidate for candidate in candidates if candidate.casefold() not in folded)
