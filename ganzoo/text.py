"""Format suggestions, sizes and durations, parse TOML and JSON, and show text, of any origin."""

from __future__ import annotations

import difflib
import html
import itertools
import json
import shlex
import tomllib
import unicodedata
from collections.abc import Callable, Collection, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

LARGEST_INT = 2**63 - 1
"""Largest integer of TOML, and so the largest seed; torch takes seeds up to twice that."""
DEEPEST = 100
"""Most tables and lists within each other in a TOML document, and most parts of a dotted key."""


def did_you_mean(word: str, known: Collection[str]) -> str:
    """Return a suggestion to end a message with, or an empty text where no known word is close."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f", did you mean {close[0]}?" if close else ""


def unused_name(name: str, taken: Iterable[str], fold: Callable[[str], str] = str) -> str:
    """Return a name that is not taken: itself, or numbered from 2 on; those that `fold` makes alike are the same."""
    folded = set(map(fold, taken))
    candidates = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
    return next(each for each in candidates if fold(each) not in folded)


def parse_json(text: str, loads: Callable[[str], Any] = json.loads) -> Any:
    """Return the value of a JSON document.

    Raises:
        ValueError: it is not JSON, or is nested deeper, or has longer numbers, than Python takes.
    """
    try:
        return loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except ValueError as error:
        if type(error) is not ValueError:
            raise
        raise ValueError("it has a number of more digits than Python takes") from None


def to_json(values: object) -> str:
    """Return values as JSON, which has neither NaN nor infinities: they are null."""
    return json.dumps(json.loads(json.dumps(values), parse_constant=lambda _: None), indent=2)


def parse_toml(text: str) -> dict[str, Any]:
    """Return the tables of a TOML document; raises as `parse_json` does."""
    tables: dict[str, Any] = parse_json(text, tomllib.loads)
    level: list[Any] = [tables]
    for _ in range(DEEPEST):  # dotted keys nest without recursion
        level = [child for each in level for child in (each.values() if isinstance(each, dict) else each)]
        level = [each for each in level if isinstance(each, dict | list)]
    if level:
        raise ValueError("it is nested too deeply")
    return tables


def printable(text: object, keep: str = "") -> str:
    """Return text of any origin with control and direction characters as `\\uXXXX`, except those in `keep`."""
    shown = str(text)
    return shown if shown.isprintable() else "".join(each if each in keep else _visible(each) for each in shown)


def _visible(character: str) -> str:
    if character.isprintable() or unicodedata.category(character) == "Zs":
        return character
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def printable_lines(text: object) -> str:
    """Return a message with text of any origin in it as `printable` does, its lines after the first indented.

    So nothing from a file looks like a line of ganzoo's own.
    """
    first, *more = map(printable, str(text).split("\n"))
    return "\n".join([first, *(line if line.startswith("  ") or not line else f"  {line}" for line in more)])


def markdown(text: object) -> str:
    """Return text of any origin as Markdown shows it, without markup or HTML of its own."""
    escaped = html.escape(printable(text), quote=False)
    return "".join(f"\\{character}" if character in "\\`*_[]|#!~" else character for character in escaped)


def html_table(*rows: Iterable[object]) -> str:
    """Return rows of text of any origin as an HTML table, for notebooks; the first row is the head."""
    lines = []
    for tag, row in zip(itertools.chain(["th"], itertools.repeat("td")), rows, strict=False):
        cells = (f"<{tag}>{html.escape(printable(cell))}</{tag}>" for cell in row)
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return f"<table>{''.join(lines)}</table>"


def shell_word(path: Path | str) -> str:
    """Return a path as a shell takes it in a command."""
    word = str(path)
    return shlex.quote(f"./{word}" if word.startswith("-") else word)


def size_in_words(count: int) -> str:
    """Format a number of bytes with its unit."""
    for size, unit in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"


def number(value: float) -> str:
    """Format a number in three digits, or all those before the point."""
    return f"{value:.0f}" if 100 <= abs(value) < 1e7 else f"{value:.3g}"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, which ends in "s" unless there is one: 2 runs."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def count(value: int) -> str:
    """Format a large count with its unit: 3.58M."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= 0.9995 * size:  # which three digits round up
            return f"{value / size:.3g}{unit}"
    return str(value)


def duration(seconds: float) -> str:
    """Format seconds as h:mm:ss, up to a million days."""
    return str(timedelta(seconds=round(min(max(seconds, 0.0), 86_400e6))))
