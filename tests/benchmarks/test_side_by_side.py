"""Calls side by side: each in a process of its own, all of them made, an error told."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]

CALLS = """
import os

def write_process(path):
    path.write_text(str(os.getpid()))

def fail(text):
    raise ValueError(text)
"""


@pytest.fixture
def side_by_side(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("side_by_side")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """A module that other processes can import."""
    (tmp_path / "module").mkdir()
    (tmp_path / "module" / "calls_of_a_test.py").write_text(CALLS)
    monkeypatch.syspath_prepend(str(tmp_path / "module"))
    return importlib.import_module("calls_of_a_test")


def test_one_at_a_time_in_this_process(side_by_side: ModuleType, calls: ModuleType, tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a", "b")]
    side_by_side.run_side_by_side(calls.write_process, [(file,) for file in files], 1)
    assert {file.read_text() for file in files} == {str(os.getpid())}


@pytest.mark.slow
def test_two_at_a_time_in_processes_of_their_own(side_by_side: ModuleType, calls: ModuleType, tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a", "b", "c")]
    side_by_side.run_side_by_side(calls.write_process, [(file,) for file in files], 2)
    assert len({file.read_text() for file in files} - {str(os.getpid())}) == 3
    with pytest.raises(ValueError, match="no such row"):
        side_by_side.run_side_by_side(calls.fail, [("no such row",)], 2)
