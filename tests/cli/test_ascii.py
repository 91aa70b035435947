"""Terminals that know no more than ASCII end no command."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ganzoo import api

ENVIRONMENTS = {
    "encoding": {"PYTHONIOENCODING": "ascii"},
    "locale": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": ""},
    "strict": {"PYTHONIOENCODING": "utf-8:strict", "LC_ALL": "C.UTF-8"},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tables_in: Callable) -> Path:
    """A run with scores, below a folder whose name is not ASCII."""
    place = tmp_path_factory.mktemp("run") / "nö"
    tables = tables_in(place)
    tables["run"]["root"] = "runs"
    tables["evaluation"] = {"every": 2, "samples": 16, "metrics": ["diversity"]}
    place.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        api.run(tables, ["run.steps=2"])
    return place / "runs" / "tiny" / "0001"


@pytest.mark.slow
@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize("arguments", [["compare"], ["sample", "--out", "{run}/ö-{environment}.png"]])
def test_what_cannot_be_shown_is_escaped(run: Path, environment: str, arguments: list[str]):
    command, *rest = (each.format(run=run, environment=environment) for each in arguments)
    ended = subprocess.run(
        [sys.executable, "-m", "ganzoo", command, run, *rest],
        env={**os.environ, **ENVIRONMENTS[environment]},
        capture_output=True,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    assert b"Traceback" not in ended.stderr
    if command == "compare":
        assert (b"diversity \\u2192 1" if environment != "strict" else "diversity → 1".encode()) in ended.stdout
