"""SIGINT and SIGTERM: the step ends, the state is saved, W&B is closed, all in seconds; a second one ends at once."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from same import assert_same_checkpoint, rows
from wandb_reader import has_begun, read
from wandb_server import Server

from ganzoo import api
from ganzoo.registry.hookspecs import hookimpl
from ganzoo.registry.plugin_manager import PluginManager
from ganzoo.storage.checkpoint import latest_checkpoint

pytestmark = pytest.mark.slow

Tables = dict[str, Any]
Process = Callable[..., subprocess.Popen[str]]
EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


def seconds_allowed() -> float:
    """Five seconds, and more where the machine has more to do than it has processors for."""
    return 5.0 * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


@pytest.fixture
def endless(tables: Tables, recipe_file: Callable[[Tables], Path]) -> Path:
    """A recipe that goes on for minutes, with a checkpoint every 20 steps and an animation of many grids to be made."""
    tables["run"] |= {"steps": 100_000, "log_every": 1}
    tables["checkpoint"]["every"] = 20
    tables["samples"] |= {"every": 5, "count": 64, "gif": True}
    tables["trainer"]["ema_decay"] = 0.9
    del tables["tracking"]
    return recipe_file(tables)


def lines(path: Path) -> int:
    return len(path.read_text().splitlines()) if path.is_file() else 0


def wait_until(reached: Callable[[], Any], child: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not reached():
        assert child.poll() is None, child.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def parent(stat: Path) -> int:
    """The parent of a process, by its file in /proc; 0 where it has ended."""
    with suppress(OSError):
        return int(stat.read_text().rpartition(")")[2].split()[1])
    return 0


def exit_code(child: subprocess.Popen[str]) -> int:
    """As a shell gives it, which says 130 of a process that died of SIGINT."""
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


@pytest.mark.parametrize(
    ("tracking", "number"),
    [("offline", signal.SIGINT), ("online", signal.SIGTERM), ("server_gone", signal.SIGTERM)],
    ids=["offline", "online", "server_gone"],
)
def test_one_signal(
    endless: Path, forked: Process, server: Server, tracking: str, number: signal.Signals, tables: Tables
):
    mode = "offline" if tracking == "offline" else "online"
    child = forked("run", endless, "--set", f"tracking.wandb.mode={mode}", cwd=endless.parent)
    run = Path(tables["run"]["root"]) / "tiny/0001"
    wait_until(lambda: lines(run / "metrics.jsonl") > 30 and has_begun(run), child)
    server.gone = tracking == "server_gone"
    told = lines(run / "metrics.jsonl")
    wait_until(lambda: lines(run / "metrics.jsonl") > told, child)
    begun = time.monotonic()
    child.send_signal(number)
    child.wait(timeout=60)
    assert time.monotonic() - begun < seconds_allowed()
    assert exit_code(child) == EXIT_CODES[number]
    err = child.communicate(timeout=10)[1]  # W&B's own process, which may go on, has no part in it
    assert "Traceback" not in err
    assert err.splitlines()[-1] == f"error: stopped by {number.name}"
    assert ("upload them with: wandb sync" in err) == (tracking == "server_gone")
    summary = json.loads((run / "summary.json").read_text())
    assert summary["status"] == "interrupted"
    assert latest_checkpoint(run / "checkpoints", pytest.fail).step == summary["steps"] == lines(run / "metrics.jsonl")
    (recorded,) = run.glob("wandb/*run-*/*.wandb")
    assert [row["step"] for row in read(recorded).history if "loss/generator" in row] == [
        row["step"] for row in rows(run)
    ]
    steps = summary["steps"] + 3
    settings = [f"run.steps={steps}", "tracking.wandb.mode=disabled", "samples.every=1000"]
    resumed = api.resume(run, settings)
    whole = api.run(endless, [*settings, "run.name=whole"])
    assert_same_checkpoint(resumed.checkpoint.path, whole.checkpoint.path)
    assert rows(resumed.path) == rows(whole.path)


@pytest.mark.parametrize("second", EXIT_CODES, ids=["int", "term"])
def test_a_second_signal(endless: Path, forked: Process, server: Server, second: signal.Signals, tables: Tables):
    """While W&B waits for a server that has gone."""
    child = forked("run", endless, "--set", "tracking.wandb.mode=online", cwd=endless.parent)
    run = Path(tables["run"]["root"]) / "tiny/0001"
    wait_until(lambda: lines(run / "metrics.jsonl") > 30 and has_begun(run), child)
    server.gone = True
    told = lines(run / "metrics.jsonl")
    wait_until(lambda: lines(run / "metrics.jsonl") > told + 3, child)
    child.send_signal(signal.SIGINT)
    time.sleep(0.3)
    begun = time.monotonic()
    child.send_signal(second)
    child.wait(timeout=60)
    assert time.monotonic() - begun < seconds_allowed() / 2
    assert exit_code(child) == EXIT_CODES[second]
    assert "Traceback" not in child.communicate(timeout=10)[1]
    step = latest_checkpoint(run / "checkpoints", pytest.fail).step
    assert step >= 20
    settings = [f"run.steps={step + 3}", "tracking.wandb.mode=disabled", "samples.every=1000"]
    resumed = api.resume(run, settings)
    assert_same_checkpoint(resumed.checkpoint.path, api.run(endless, [*settings, "run.name=whole"]).checkpoint.path)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_process_of_wandb_does_not_hold_the_output(endless: Path, forked: Process, server: Server, tables: Tables):
    """It may go on for minutes where a server has gone; who reads the run's output does not wait for it."""
    child = forked("run", endless, "--set", "tracking.wandb.mode=online", cwd=endless.parent)
    run = Path(tables["run"]["root"]) / "tiny/0001"
    wait_until(lambda: has_begun(run), child)
    others = {path.parent.name for path in Path("/proc").glob("[0-9]*/stat") if parent(path) == child.pid}
    names = {pid: Path("/proc", pid, "comm").read_text().strip() for pid in others}
    (own,) = [pid for pid, name in names.items() if name.startswith("wandb-core")]
    outputs = {Path(f"/proc/{child.pid}/fd/{stream}").readlink() for stream in (1, 2)}
    assert all(output.name.startswith("pipe:") for output in outputs)
    assert not outputs & {each.readlink() for each in Path("/proc", own, "fd").iterdir()}
    child.send_signal(signal.SIGTERM)
    child.communicate(timeout=60)
    assert exit_code(child) == EXIT_CODES[signal.SIGTERM]


@pytest.mark.parametrize("number", EXIT_CODES, ids=["int", "term"])
def test_a_signal_before_tracking_begins(
    endless: Path, forked: Process, server: Server, number: signal.Signals, tables: Tables, monkeypatch: Any
):
    """While W&B waits for a server that does not answer, which the steps do not: it ends with those it has taken."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{listener.getsockname()[1]}")
        child = forked("run", endless, "--set", "tracking.wandb.mode=online", cwd=endless.parent)
        run = Path(tables["run"]["root"]) / "tiny/0001"
        wait_until(lambda: lines(run / "metrics.jsonl") > 2, child)
        begun = time.monotonic()
        child.send_signal(number)
        child.wait(timeout=60)
        assert time.monotonic() - begun < seconds_allowed()
        err = child.communicate()[1]
    assert "W&B: had not begun when the run was stopped" in err
    assert err.splitlines()[-1] == f"error: stopped by {number.name}"
    assert exit_code(child) == EXIT_CODES[number]
    steps = lines(run / "metrics.jsonl")
    assert latest_checkpoint(run / "checkpoints", pytest.fail).step == steps
    assert api.resume(run, [f"run.steps={steps + 2}", "tracking.wandb.mode=disabled"]).checkpoint.step == steps + 2


def test_an_interrupt_that_a_library_swallows(tables: Tables, recipe_file: Callable[[Tables], Path]):
    """As it does where the signal strikes in a destructor, or in an import: the run still does not begin."""

    class Swallowing:
        @hookimpl
        def run_started(self) -> None:
            with suppress(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)

    manager = PluginManager()
    manager.pluggy.register(Swallowing())
    with pytest.raises(KeyboardInterrupt):
        api.run(recipe_file(tables), manager=manager)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    run = Path(tables["run"]["root"]) / "tiny/0001"
    assert lines(run / "metrics.jsonl") == 0
    assert json.loads((run / "summary.json").read_text())["status"] == "interrupted"
    assert api.resume(run).checkpoint.step == 6
