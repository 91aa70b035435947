"""Whatever becomes of W&B, a run ends with the weights of one that is not tracked, and says how to sync."""

from __future__ import annotations

import atexit
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb
from ganzoo_trackers.wandb import session
from killed import in_child
from same import assert_same_checkpoint, rows
from wandb_reader import forget_service, has_begun, kill_service, read
from wandb_server import KEY, Server

from ganzoo import api
from ganzoo.registry.hookspecs import hookimpl
from ganzoo.registry.plugin_manager import PluginManager

Tables = dict[str, Any]
PATIENCE = session.START_SECONDS, session.FINISH_SECONDS
SYNC = "upload it with: wandb sync "


@pytest.fixture(autouse=True)
def surroundings(no_wandb_account: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No key, account or setting of the one who runs the tests, and less patience than usual."""
    monkeypatch.setattr(session, "START_SECONDS", 2.0)
    monkeypatch.setattr(session, "FINISH_SECONDS", 2.0)
    wandb.teardown()
    yield
    kill_service()
    forget_service()


@pytest.fixture
def tables(tables: Tables) -> Tables:
    """Steps that also draw from the global random number generators, as dropout does."""
    tables["run"] |= {"steps": 12, "log_every": 1}
    tables["samples"] |= {"every": 4, "gif": True}
    tables["trainer"] |= {"ema_decay": 0.9, "fake_batch": "fresh"}
    return tables


class At:
    """Does something after a step, and not before tracking has begun."""

    def __init__(self, at: int, what: Callable[[Any], object]) -> None:
        self.at = at
        self.what = what

    @hookimpl
    def step_ended(self, run: Any, step: int) -> None:
        if step == self.at:
            while not has_begun(run.directory.path):
                time.sleep(0.02)
            self.what(run)


def assert_same_as_untracked(tables: Tables, *observers: object) -> Path:
    """Train with W&B as it is, and without; every bit of the last checkpoint is the same."""
    alone = api.run(tables)
    manager = PluginManager()
    for observer in observers:
        manager.pluggy.register(observer)
    tracked = api.run(tables, ["tracking.wandb.mode=auto"], manager=manager)
    assert_same_checkpoint(tracked.checkpoint.path, alone.checkpoint.path)
    assert rows(tracked.path) == rows(alone.path)
    return tracked.path


def told(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line about W&B, or the last after that which gives the address."""
    found = [line for line in capsys.readouterr().err.splitlines() if "W&B" in line]
    assert len(found) == 1 + found[0].startswith("W&B: http")
    return found[-1]


@pytest.mark.slow
def test_all_is_well(tables: Tables, server: Server):
    assert_same_as_untracked(tables)
    assert [row["step"] for row in server.rows if "loss/generator" in row] == list(range(1, 13))


@pytest.mark.slow
def test_no_key(tables: Tables, capsys: pytest.CaptureFixture[str]):
    assert_same_as_untracked(tables)
    assert SYNC in told(capsys)


@pytest.mark.slow
def test_a_closed_port(tables: Tables, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    begun = time.monotonic()
    assert_same_as_untracked(tables)
    assert time.monotonic() - begun < 60
    line = told(capsys)
    assert line.startswith("warning: W&B: the run is tracked offline: ")
    assert SYNC in line


@pytest.mark.slow
@pytest.mark.parametrize("key", ["tooshort", "not a key at all, but long enough to be taken for one"])
def test_a_key_that_is_none(tables: Tables, server: Server, monkeypatch: Any, capsys: Any, key: str):
    server.status = 401
    monkeypatch.setenv("WANDB_API_KEY", key)
    assert_same_as_untracked(tables)
    assert SYNC in told(capsys)


@pytest.mark.slow
def test_a_key_that_is_refused(tables: Tables, server: Server, capsys: pytest.CaptureFixture[str]):
    server.status = 401
    assert_same_as_untracked(tables)
    assert SYNC in told(capsys)


@pytest.mark.slow
def test_a_server_that_dies(tables: Tables, server: Server, capsys: pytest.CaptureFixture[str]):
    assert_same_as_untracked(tables, At(5, lambda run: setattr(server, "gone", True)))
    assert "the server does not take the last rows; upload them with: wandb sync " in told(capsys)


@pytest.mark.slow
def test_a_server_that_begins_to_fail(tables: Tables, server: Server, capsys: pytest.CaptureFixture[str]):
    assert_same_as_untracked(tables, At(5, lambda run: setattr(server, "status", 500)))
    assert "upload them with: wandb sync " in told(capsys)


def test_a_folder_that_is_not_writable(tables: Tables, capsys: pytest.CaptureFixture[str], monkeypatch: Any):
    """Root may write anywhere, so that a file takes the folder's place."""
    lay_out = api.RunDirectory.create

    def create(recipe: Any, *arguments: Any) -> Any:
        directory = lay_out(recipe, *arguments)
        if recipe.tracking.wandb.mode == "auto":
            (directory.path / "wandb").write_text("in the way")
        return directory

    monkeypatch.setattr(api.RunDirectory, "create", create)
    run = assert_same_as_untracked(tables)
    line = told(capsys)
    assert line.startswith("warning: W&B: tracking is off: ")
    assert line.endswith(f"the metrics are in {run / 'metrics.jsonl'}")


@pytest.mark.slow
def test_its_process_is_killed(tables: Tables, capsys: pytest.CaptureFixture[str]):
    """W&B's own process, which a machine short of memory may pick."""

    assert_same_as_untracked(tables, At(5, kill_service))
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: W&B")]
    assert len(lines) == 1


def run_killed(tables: Tables, kill: Callable[[Any], object]) -> tuple[int, Path]:
    """Train offline in a process of its own; returns how that ended, and W&B's file.

    Once what was logged before step 5 has had the time to get into the file, something is killed.
    """

    def work() -> None:
        atexit._clear()  # of what pytest's own process needs, such as W&B's folder of pictures
        manager = PluginManager()
        manager.pluggy.register(At(5, lambda run: time.sleep(3 * session.FLUSH_SECONDS)))
        manager.pluggy.register(At(7, lambda run: (time.sleep(3 * session.FLUSH_SECONDS), kill(run))))
        api.run(tables, ["tracking.wandb.mode=offline"], manager=manager)
        sys.unraisablehook = sys.__unraisablehook__  # pytest has its own
        atexit._run_exitfuncs()

    code = in_child(work)
    (file,) = Path(tables["run"]["root"]).glob("*/0001/wandb/*/*.wandb")
    return code, file


@pytest.mark.slow
def test_what_was_logged_outlasts_a_run_that_is_killed(tables: Tables):
    if "x_transaction_log_flush_interval" not in wandb.Settings.model_fields:
        pytest.skip("this W&B writes its file by whole blocks alone")
    code, file = run_killed(tables, lambda run: os.kill(os.getpid(), signal.SIGKILL))
    assert code == -signal.SIGKILL
    seen = read(file)
    assert seen.column("step")[:5] == [1, 2, 3, 4, 5]
    assert seen.config["run"]["steps"] == 12


@pytest.mark.slow
def test_when_its_process_is_killed_the_program_ends_without_a_traceback(
    tables: Tables, capfd: pytest.CaptureFixture[str]
):
    code, _ = run_killed(tables, kill_service)
    err = capfd.readouterr().err
    assert code == 0
    assert err.count("warning: W&B") == 1
    assert "Traceback" not in err


@pytest.mark.slow
def test_a_resumed_run_is_the_same_with_and_without(tables: Tables):
    whole = api.run(tables)
    part = api.run(tables, ["run.steps=5", "tracking.wandb.mode=offline"])
    first = (part.path / "wandb.json").read_text()
    resumed = api.resume(part.path, ["run.steps=12"])
    assert_same_checkpoint(resumed.checkpoint.path, whole.checkpoint.path)
    identity = [text.split('"id": "')[1][:8] for text in (first, (part.path / "wandb.json").read_text())]
    assert identity[0] == identity[1]


class Clock:
    """When a run began, when its first step was done, when its last, and when it was over."""

    def __init__(self) -> None:
        self.times: list[float] = [time.monotonic()]

    @hookimpl
    def step_ended(self) -> None:
        self.times.append(time.monotonic())

    def delays(self) -> tuple[float, float]:
        return self.times[1] - self.times[0], time.monotonic() - self.times[-1]


def delays(tables: Tables, *observers: object) -> tuple[float, float]:
    """Seconds that W&B costs before the first step and after the last."""
    took = []
    for mode in ("disabled", "online"):
        manager = PluginManager()
        for observer in observers if mode == "online" else ():
            manager.pluggy.register(observer)
        clock = Clock()
        manager.pluggy.register(clock)
        api.run(tables, [f"tracking.wandb.mode={mode}", f"run.name={mode}"], manager=manager)
        took.append(clock.delays())
    (start, end), (tracked_start, tracked_end) = took
    ours = Path(tables["run"]["root"])
    steps = tables["run"]["steps"]
    assert_same_checkpoint(*(ours / mode / f"0001/checkpoints/step_{steps:07d}" for mode in ("disabled", "online")))
    return tracked_start - start, tracked_end - end


def be_patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for W&B as long as in earnest."""
    monkeypatch.setattr(session, "START_SECONDS", PATIENCE[0])
    monkeypatch.setattr(session, "FINISH_SECONDS", PATIENCE[1])


def may_take() -> float:
    """Seconds at the end: W&B's own patience, and 20 more, so that the delay is of 60 at most in earnest."""
    assert PATIENCE[1] + 20 == 60
    return (session.FINISH_SECONDS + 20) * busy()


@pytest.mark.slow
@pytest.mark.parametrize("listening", [False, True], ids=["a closed port", "a server that never answers"])
def test_an_absent_server_delays_no_step(tables: Tables, monkeypatch: Any, listening: bool):
    if listening:
        be_patient(monkeypatch)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if listening:
            listener.listen()
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{listener.getsockname()[1]}")
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        start, end = delays(tables)
    print(f"delayed by {start:.1f} s at the start and {end:.1f} s at the end")
    assert start < 2 * busy()
    assert end < may_take()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["gone", "status"])
def test_the_end_is_delayed_by_60_seconds_at_most(tables: Tables, monkeypatch: Any, server: Server, how: str):
    if how == "gone":
        be_patient(monkeypatch)
    start, end = delays(tables, At(5, lambda run: setattr(server, how, True if how == "gone" else 500)))
    print(f"delayed by {start:.1f} s at the start and {end:.1f} s at the end")
    assert start < 2 * busy()
    assert end < may_take()


def busy() -> float:
    """How much more the machine has to do than it has processors for; 1 where it is not busy."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
