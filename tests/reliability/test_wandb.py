"""Whatever becomes of W&B, a run ends with the weights of one that is not tracked, and says how to sync."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import wandb
from same import assert_same_checkpoint, rows
from wandb_server import KEY, Server

from ganzoo import api
from ganzoo.hookspecs import hookimpl
from ganzoo.observers.wandb import session
from ganzoo.plugin_manager import PluginManager

Tables = dict[str, Any]
SYNC = "upload it with: wandb sync "


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No key, account or setting of the one who runs the tests, and less patience than usual."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setattr(session, "START_SECONDS", 2.0)
    monkeypatch.setattr(session, "FINISH_SECONDS", 2.0)
    wandb.teardown()
    yield
    with suppress(ConnectionError):  # its process may have been killed
        wandb.teardown()


@pytest.fixture
def tables(tables: Tables) -> Tables:
    """Steps that also draw from the global random number generators, as dropout does."""
    tables["run"] |= {"steps": 12, "log_every": 1}
    tables["samples"] |= {"every": 4, "gif": True}
    tables["trainer"] |= {"ema_decay": 0.9, "fake_batch": "fresh"}
    return tables


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with Server() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        yield server
        server.shutdown()


class At:
    """Does something after a step."""

    def __init__(self, at: int, what: Callable[[Any], object]) -> None:
        self.at = at
        self.what = what

    @hookimpl
    def step_ended(self, run: Any, step: int) -> None:
        if step == self.at:
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


def test_all_is_well(tables: Tables, server: Server):
    assert_same_as_untracked(tables)
    assert [row["step"] for row in server.rows if "loss/generator" in row] == list(range(1, 13))


def test_no_key(tables: Tables, capsys: pytest.CaptureFixture[str]):
    assert_same_as_untracked(tables)
    assert SYNC in told(capsys)


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


@pytest.mark.parametrize("key", ["tooshort", "not a key at all, but long enough to be taken for one"])
def test_a_key_that_is_none(tables: Tables, server: Server, monkeypatch: Any, capsys: Any, key: str):
    server.status = 401
    monkeypatch.setenv("WANDB_API_KEY", key)
    assert_same_as_untracked(tables)
    assert SYNC in told(capsys)


def test_a_key_that_is_refused(tables: Tables, server: Server, capsys: pytest.CaptureFixture[str]):
    server.status = 401
    assert_same_as_untracked(tables)
    assert SYNC in told(capsys)


def test_a_server_that_dies(tables: Tables, server: Server, capsys: pytest.CaptureFixture[str]):
    assert_same_as_untracked(tables, At(5, lambda run: setattr(server, "gone", True)))
    assert "the server does not take the last rows; upload them with: wandb sync " in told(capsys)


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


def test_its_process_is_killed(tables: Tables, capsys: pytest.CaptureFixture[str]):
    """W&B's own process, which a machine short of memory may pick."""

    def kill(run: Any) -> None:
        service = wandb.setup()._connection
        service._proc._process.kill()
        service._proc._process.wait()

    assert_same_as_untracked(tables, At(5, kill))
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: W&B")]
    assert len(lines) == 1


def test_a_resumed_run_is_the_same_with_and_without(tables: Tables):
    whole = api.run(tables)
    part = api.run(tables, ["run.steps=5", "tracking.wandb.mode=offline"])
    first = (part.path / "wandb.json").read_text()
    resumed = api.resume(part.path, ["run.steps=12"])
    assert_same_checkpoint(resumed.checkpoint.path, whole.checkpoint.path)
    identity = [text.split('"id": "')[1][:8] for text in (first, (part.path / "wandb.json").read_text())]
    assert identity[0] == identity[1]
