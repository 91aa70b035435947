"""The `ganzoo` command, run in the process of the tests."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ganzoo.registry import DISABLE_VARIABLE, FILES_VARIABLE, TRUST_VARIABLE
from ganzoo.registry.plugin_manager import plugin_manager


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Ended]]:
    """Run `ganzoo` with these arguments in this process."""
    for variable in (DISABLE_VARIABLE, FILES_VARIABLE, TRUST_VARIABLE):
        monkeypatch.setenv(variable, "")

    def run(*arguments: str | Path) -> Ended:
        from ganzoo.cli.main import main

        plugin_manager.cache_clear()
        monkeypatch.setattr(sys, "argv", ["ganzoo", *map(str, arguments)])
        monkeypatch.setattr("ganzoo.cli.main._leave_soon", sys.exit)  # which would end the tests too
        monkeypatch.setattr("ganzoo.cli.main._leave_within", lambda seconds, code: None)
        capsys.readouterr()
        code: Any = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code or 0
        captured = capsys.readouterr()
        return Ended(code, captured.out, captured.err)

    yield run
    plugin_manager.cache_clear()
