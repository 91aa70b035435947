"""A run takes no more memory as its metrics, grids and checkpoints become many."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ganzoo
from ganzoo.registry.hookspecs import hookimpl
from ganzoo.registry.plugin_manager import PluginManager

STATM = Path("/proc/self/statm")


class Watcher:
    """Notes the memory at some steps."""

    def __init__(self) -> None:
        self.resident: dict[int, int] = {}

    @hookimpl
    def step_ended(self, step: int) -> None:
        if step % 200 == 0:
            self.resident[step] = int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
@pytest.mark.skipif(not STATM.exists(), reason="needs /proc")
def test_memory_stays_flat(tables: dict[str, Any], parse: Callable[..., Any]):
    manager, watcher = PluginManager(), Watcher()
    manager.pluggy.register(watcher, name="watcher")
    tables["run"] |= {"steps": 1000, "log_every": 1}
    tables["samples"] |= {"every": 20}
    tables["checkpoint"] = {"every": 20}
    trained = ganzoo.run(tables, manager=manager)
    assert len((trained.path / "metrics.jsonl").read_text().splitlines()) == 1000
    assert len(list((trained.path / "samples").glob("step_*.png"))) == 50
    assert len(list((trained.path / "checkpoints").iterdir())) == 2
    assert watcher.resident[1000] - watcher.resident[200] < 8e6
