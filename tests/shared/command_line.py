"""The `ganzoo` command, run in the process of the tests."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from forked import Forked

from ganzoo.registry import DISABLE_VARIABLE, FILES_VARIABLE, TRUST_VARIABLE
from ganzoo.registry import plugin_manager as plugins
from ganzoo.registry.plugin_manager import PluginManager, plugin_manager

INSTALLED = plugins._installed


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


@cache
def _all_plugins() -> PluginManager:
    """The installed plugins, which no command changes: loaded once for all of them."""
    return PluginManager()


def _plugins(disabled: Iterable[str] = (), files: Iterable[Path] = ()) -> PluginManager:
    disabled, files = [*disabled], [*files]
    return PluginManager(disabled, files) if disabled or files else _all_plugins()


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Ended]]:
    """Run `ganzoo` with these arguments in this process."""
    made = str(tmp_path_factory.getbasetemp())
    for variable in (DISABLE_VARIABLE, FILES_VARIABLE, TRUST_VARIABLE):
        monkeypatch.setenv(variable, "")

    def run(*arguments: str | Path) -> Ended:
        from ganzoo.cli.main import main

        plugin_manager.cache_clear()
        others = plugins._installed is not INSTALLED or any(place.startswith(made) for place in sys.path)
        monkeypatch.setattr(plugins, "PluginManager", PluginManager if others else _plugins)
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


@pytest.fixture
def process() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start `ganzoo` with these arguments as a process of its own, which does not outlive the test."""
    yield from _starting(lambda arguments, **options: subprocess.Popen([sys.executable, *arguments], **options))


@pytest.fixture
def forked() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Do as `process` does, without the seconds that an interpreter takes to import torch."""
    yield from _starting(lambda arguments, **options: Forked(*arguments, **options))


def _starting(start: Callable[..., subprocess.Popen[str]]) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def begin(*arguments: str | Path, **options: Any) -> subprocess.Popen[str]:
        # WANDB_SERVICE leads to W&B's process of an earlier test, which may have ended.
        environment = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
        environment |= {"OMP_NUM_THREADS": "1"}
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        given = {"env": environment, "text": True, **streams, **options}
        started.append(start(["-m", "ganzoo", *map(str, arguments)], **given))
        return started[-1]

    yield begin
    for child in started:
        if child.poll() is None:
            child.kill()
        child.communicate()
