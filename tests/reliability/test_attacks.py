"""The table of attacks: each row names a test that is there, and the command counts what it runs."""

from __future__ import annotations

import ast
import csv
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]


def names_in(file: Path) -> set[str]:
    tree = ast.parse(file.read_text()) if file.is_file() else ast.Module([], [])
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_each_row_is_whole_and_names_a_test_that_is_there():
    with (TESTS / "reliability" / "attacks.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        file, *_, name = row["test"].split("::")
        root = TESTS.parent if file.startswith("plugins/") else TESTS
        assert name in names_in(root / file), row["test"]
    assert len({row["test"] for row in rows}) == len(rows) > 160
    assert [row for row in rows if not all([row["kind"], row["done"], row["holds"]])] == []
    assert {row["fixed"] for row in rows} == {"yes", ""}


@pytest.mark.slow
def test_the_command_runs_and_counts():
    ended = subprocess.run(
        [sys.executable, "tests/reliability/attacks.py", "400", "digits"],
        cwd=TESTS.parent,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.splitlines()[-1].split() == ["all", "1", "1", "10", "10", "0"]
