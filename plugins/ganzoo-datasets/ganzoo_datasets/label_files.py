"""Labels of images from a file beside them: StyleGAN's `dataset.json`, or a table in CSV."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from ganzoo.plugin import DataError, LabelSpec

Kind = Literal["classes", "attributes", "continuous"]
_INTEGER = re.compile(r"[+-]?[0-9]+")
_MOST_CLASSES = 100_000
"""Classes up to which indices may go that no image has, unless there are a tenth as many images."""


def natural_key(text: str) -> tuple[list[tuple[int, str]], str]:
    """Return a key that sorts numbers in names by their value: 2 before 10, and −1 at the beginning before 0."""
    parts = re.split(r"(^-[0-9]+|[0-9]+)", text)
    return [(int(part), "") if index % 2 else (-1, part) for index, part in enumerate(parts)], text


def read_labels(
    path: Path, names: Sequence[str], kind: Kind | None, read: Callable[[], bytes]
) -> tuple[LabelSpec, list[Any]]:
    """Read the labels of images.

    Args:
        path: ends in .json, and is as StyleGAN has it; else CSV: a header, the file's name, one or more columns.
        names: of the images, relative to their folder and with `/`; a file may leave out their folders where their
            own names differ.
        kind: of the labels; default: "classes" for one column of integers or text, "attributes" for several of 0 and
            1 (or −1 and 1), else "continuous".
        read: returns the bytes of the file.

    Raises:
        DataError: the file is missing or damaged, has no label for an image, or labels of another kind.
    """
    try:
        text = read().decode("utf-8-sig").replace("\r\n", "\n")
    except (OSError, ValueError) as error:
        undecoded = "is not text in UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
        reason = getattr(error, "strerror", None) or undecoded
        raise DataError(f"{path}: {reason}: set dataset.labels to the file with the labels") from error
    if path.suffix.lower() == ".json":
        rows = _rows_of(path, _read_json(path, text), names)
        columns = [str(index) for index in range(max(map(len, rows), default=0))]
    else:
        columns, table = _read_csv(path, text, names)
        rows = _rows_of(path, table, names, len(columns))
    used = list(zip(*rows, strict=True))
    kind = kind or _detect(path, columns, used)
    if kind == "classes":
        if len(used) != 1:
            raise DataError(f"{path}: has {len(used)} columns of labels, and classes take one")
        values = {str(value) for value in used[0]}
        if all(map(_INTEGER.fullmatch, values)) and path.suffix.lower() == ".json":  # indices: none is left out
            highest = max(map(int, values))
            if highest >= max(_MOST_CLASSES, 10 * len(names)):
                raise DataError(
                    f"{path}: has the class index {highest} for {len(names)} images, and all from 0 up to it would be "
                    f'classes: number them from 0, or set dataset.label_kind = "continuous" for values'
                )
            values |= set(map(str, range(highest + 1)))
        indices = {name: index for index, name in enumerate(sorted(values, key=natural_key))}
        return LabelSpec("classes", tuple(indices)), [indices[str(value)] for value in used[0]]
    try:
        numbers = [[float(value) for value in row] for row in rows]
    except ValueError as error:
        raise DataError(f"{path}: {error}, and {kind} must be numbers") from None
    for name, row in zip(names, numbers, strict=True):
        for value in row:
            if not math.isfinite(value):
                raise DataError(f"{path}: has {value} for {name}, and {kind} values must be finite: write a number")
            if kind == "attributes" and value not in (-1, 0, 1):
                raise DataError(
                    f"{path}: has {value} for {name}, and attributes must be 0 or 1, or −1 and 1: "
                    f'set dataset.label_kind = "continuous" for values'
                )
    if kind == "attributes":
        numbers = [[max(value, 0.0) for value in row] for row in numbers]  # CelebA has -1 for 0
    return LabelSpec(kind, tuple(columns)), numbers


def _read_json(path: Path, text: str) -> dict[str, list[Any]]:
    try:
        labels = json.loads(text)["labels"]
        given = labels.items() if isinstance(labels, dict) else labels
        pairs = [(str(name), label if isinstance(label, list) else [label]) for name, label in given]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(
            f'{path}: is not as StyleGAN has it, {{"labels": [["00000/img00000000.png", 3], …]}}'
        ) from error
    if not all(isinstance(value, (int, float)) for _, row in pairs for value in row):
        raise DataError(f"{path}: has labels that are no numbers")
    return _by_name(path, pairs)


def _read_csv(path: Path, text: str, names: Sequence[str]) -> tuple[list[str], dict[str, list[Any]]]:
    reader = csv.reader(text.splitlines(keepends=True))
    rows: list[list[str]] = []
    line = 1
    try:
        for row in reader:
            if any(len(cell.strip().splitlines()) > 1 for cell in row):
                raise csv.Error
            rows += [[cell.strip() for cell in row]] if row else []
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{path}: line {line} leaves a quote open: close it, or leave it out") from error
    if not rows or len(rows[0]) < 2:
        cure = ": separate them by commas" if rows and any(sign in rows[0][0] for sign in ";\t") else ""
        raise DataError(f"{path}: has no header with the file's name and at least one column of labels{cure}")
    if any(rows[0][0] in (name, name.rpartition("/")[2]) for name in names):
        raise DataError(f"{path}: begins with an image: put a header before it, such as file,label")
    return rows[0][1:], _by_name(path, [(row[0], row[1:]) for row in rows[1:]])


def _by_name(path: Path, pairs: Sequence[tuple[str, list[Any]]]) -> dict[str, list[Any]]:
    """Return the values of each file; raises DataError where one is there twice with different ones."""
    table: dict[str, list[Any]] = {}
    for name, values in pairs:
        if table.setdefault(name, values) != values:
            raise DataError(f"{path}: has two labels for {name}: leave one of them")
    return table


def _rows_of(
    path: Path, table: dict[str, list[Any]], names: Sequence[str], width: int | None = None
) -> list[list[Any]]:
    """Return the values of each image, of which there are `width`; default: as many as of the first."""
    plain = [name.rpartition("/")[2] for name in names]
    unique = len(set(plain)) == len(plain)
    found = [table.get(name, table.get(short) if unique else None) for name, short in zip(names, plain, strict=True)]
    missing = [name for name, row in zip(names, found, strict=True) if row is None]
    if missing:
        longer = next((key for key in table if key.endswith(f"/{missing[0]}")), None)
        cure = ": add them, or move these images elsewhere"
        if longer is not None:
            cure = f", and one for {longer}: write paths relative to dataset.root"
        raise DataError(f"{path}: has no label for {len(missing)} of {len(names)} images, such as {missing[0]}{cure}")
    rows = [row for row in found if row is not None]
    width = width or len(rows[0])
    wrong = [name for name, row in zip(names, rows, strict=True) if len(row) != width or "" in row]
    if wrong:
        raise DataError(f"{path}: has not a value in each column for {wrong[0]}")
    return rows


def _detect(path: Path, columns: list[str], used: list[tuple[Any, ...]]) -> Kind:
    values = [{str(value) for value in column} for column in used]
    if len(used) == 1 and (not _are_numbers(values[0]) or all(map(_INTEGER.fullmatch, values[0]))):
        return "classes"
    text = [column for column, seen in zip(columns, values, strict=True) if not _are_numbers(seen)]
    if text:
        raise DataError(f'{path}: has text in the column "{text[0]}": leave one column for classes, or only numbers')
    binary = all({float(value) for value in seen} <= {-1.0, 0.0, 1.0} for seen in values)
    return "attributes" if binary and len(used) > 1 else "continuous"


def _are_numbers(values: set[str]) -> bool:
    try:
        return bool([float(value) for value in values])
    except ValueError:
        return False
