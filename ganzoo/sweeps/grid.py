"""The grid of a sweep: `--vary KEY=A,B` as combinations, each with a short name."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ganzoo.errors import RequestError
from ganzoo.recipe.overrides import toml_text, toml_value

Vary = Mapping[str, Sequence[Any]]
"""Values of each varied key."""
Choice = Mapping[str, Any]
"""One value for each varied key."""

NAME_LENGTH = 80
OPENING, CLOSING, QUOTES = "[{", "]}", "\"'"
OWNED = {
    "run.seed": "seeds are asked for with --seeds",
    "run.name": "a sweep names its runs itself",
    "run.root": "a sweep keeps its runs in its own directory",
}


def parse_vary(texts: Iterable[str]) -> dict[str, list[Any]]:
    """Read the grid that `--vary KEY=A,B` options describe.

    Raises:
        RequestError: one has no "=", an empty value, or a key that another has.
    """
    grid: dict[str, list[Any]] = {}
    for text in texts:
        key, equals, values = (part.strip() for part in text.partition("="))
        if not equals or not all(key.split(".")):
            raise RequestError(f'--vary {text}: write KEY=VALUE,VALUE, such as "loss.name=non_saturating,hinge"')
        if key in grid:
            raise RequestError(f"--vary {text}: {key} is varied twice; give all its values in one --vary")
        parts = list(_split(values))
        if not all(parts):
            raise RequestError(f"--vary {key}: has an empty value; write KEY=VALUE,VALUE")
        grid[key] = [toml_value(part) for part in parts]
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


def combinations(vary: Vary) -> list[dict[str, Any]]:
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
    for key, value in choice.items():
        last = key.split(".")[-1]
        if isinstance(value, str):
            yield from _word(value)
        elif isinstance(value, dict):
            yield from _word(" ".join(_described(value)) or f"no {last}")
        elif isinstance(value, list) and all(isinstance(each, dict) for each in value):
            yield from _word(" ".join(word for each in value for word in _described(each)) or f"no {last}")
        else:
            yield from _word(f"{last} {toml_text(value)}")


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
