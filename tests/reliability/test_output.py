"""Whoever reads the log cannot end the training: closed pipes, full disks, terminals that have gone, SIGHUP."""

from __future__ import annotations

import json
import os
import pty
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from same import assert_same_checkpoint

from ganzoo import api
from ganzoo.registry.hookspecs import hookimpl
from ganzoo.storage.checkpoint import latest_checkpoint
from ganzoo.storage.run_directory import RunDirectory

Tables = dict[str, Any]
Process = Callable[..., subprocess.Popen[str]]


def telling(tables: Tables) -> Tables:
    """Runs for some hundred steps, each of which is told."""
    tables["run"] |= {"steps": 150, "log_every": 1}
    tables["checkpoint"]["every"] = 50
    return tables


@pytest.fixture
def recipe(tables: Tables, recipe_file: Callable[[Tables], Path]) -> Path:
    return recipe_file(telling(tables))


@pytest.fixture(scope="module")
def whole(tables_in: Callable[[Path], Tables], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The last checkpoint of a run that nothing happened to."""
    return api.run(telling(tables_in(tmp_path_factory.mktemp("whole")))).checkpoint.path


def run_of(recipe: Path) -> RunDirectory:
    return RunDirectory(recipe.parent / "runs/tiny/0001")


def assert_complete(recipe: Path, whole: Path, *, told: bool = True) -> None:
    run = run_of(recipe)
    assert json.loads((run.path / "summary.json").read_text())["status"] == "complete"
    assert_same_checkpoint(latest_checkpoint(run.checkpoints, pytest.fail).path, whole)
    alerts = [row["alert"] for row in run.read_alerts()]
    assert [alert["kind"] for alert in alerts] == ["output_lost"] * told


@pytest.mark.slow
@pytest.mark.parametrize("lines", [0, 1])
def test_a_closed_pipe(recipe: Path, whole: Path, forked: Process, lines: int):
    read, write = os.pipe()
    child = forked("run", recipe, stdout=write, stderr=write)
    os.close(write)
    with os.fdopen(read) as reader:
        for _ in range(lines):
            reader.readline()
    child.wait(timeout=120)
    assert_complete(recipe, whole)


@pytest.mark.slow
@pytest.mark.parametrize("stream", ["stderr", "stdout", "both"])
def test_a_full_disk_of_the_log(recipe: Path, whole: Path, forked: Process, stream: str):
    with Path("/dev/full").open("w") as full:
        options = {name: full for name in ("stdout", "stderr") if stream in (name, "both")}
        child = forked("run", recipe, **options)
        _, err = child.communicate(timeout=120)
    assert "Traceback" not in (err or "")
    assert child.returncode == (0 if stream == "stderr" else 1)
    assert_complete(recipe, whole, told=stream != "stdout")
    if stream == "stdout":
        assert err.splitlines()[-1] == "error: the output cannot be written: No space left on device"


@pytest.mark.parametrize(
    ("arguments", "closed"),
    [("list datasets", ">&-"), ("list datasets", ">&- 2>&-"), ("new-plugin ganzoo-mine --kind loss", ">&-")],
)
def test_output_that_was_closed_before(tmp_path: Path, arguments: str, closed: str):
    ended = subprocess.run(
        f"{shlex.quote(sys.executable)} -m ganzoo {arguments} {closed}",
        shell=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    assert "Error" not in ended.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["ganzoo-mine"] * ("new-plugin" in arguments)


def start_on_a_terminal(start: Process, recipe: Path, **options: Any) -> tuple[subprocess.Popen[str], int]:
    master, slave = pty.openpty()
    streams = {"stdin": slave, "stdout": slave, "stderr": slave}
    child = start("run", recipe, **streams, start_new_session=True, **options)
    os.close(slave)
    metrics = run_of(recipe).metrics
    deadline = time.monotonic() + 120
    while not metrics.is_file() or metrics.read_text().count("\n") < 3:
        assert child.poll() is None
        assert time.monotonic() < deadline
        os.set_blocking(master, False)
        try:
            os.read(master, 65536)
        except BlockingIOError:
            time.sleep(0.02)
    return child, master


@pytest.mark.slow
def test_a_dead_terminal_with_hangups_ignored(recipe: Path, whole: Path, forked: Process):
    child, master = start_on_a_terminal(forked, recipe, ignored=[signal.SIGHUP])
    os.close(master)
    os.kill(child.pid, signal.SIGHUP)
    child.wait(timeout=120)
    assert_complete(recipe, whole)


@pytest.mark.slow
def test_a_hangup_saves(recipe: Path, whole: Path, process: Process):
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which nohup has the tests ignore, and so all below them
    child, master = start_on_a_terminal(process, recipe)
    signal.signal(signal.SIGHUP, before)
    os.close(master)
    os.kill(child.pid, signal.SIGHUP)
    child.wait(timeout=60)
    assert child.returncode == 129
    run = run_of(recipe)
    summary = json.loads((run.path / "summary.json").read_text())
    assert (summary["status"], summary["error"]) == ("interrupted", "Interrupted: stopped by SIGHUP")
    assert latest_checkpoint(run.checkpoints, pytest.fail).step == summary["steps"] > 0
    assert_same_checkpoint(api.resume(run.path).checkpoint.path, whole)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT], ids=["hup", "int"])
@pytest.mark.parametrize("verb", ["run", "sweep"])
def test_an_ignored_signal_stays_ignored(recipe: Path, forked: Process, verb: str, number: signal.Signals):
    arguments = [verb, recipe, *(["--vary", "run.log_every=1"] if verb == "sweep" else [])]
    child = forked(*arguments, ignored=[number])
    deadline = time.monotonic() + 120
    while not list((recipe.parent / "runs").rglob("metrics.jsonl")):
        assert child.poll() is None, child.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    child.send_signal(number)
    err = child.communicate(timeout=120)[1]
    assert child.returncode == 0, err
    (summary,) = (recipe.parent / "runs").rglob("summary.json")
    assert json.loads(summary.read_text())["status"] == "complete"


def test_an_observer_that_exits(tables: Tables, capsys: pytest.CaptureFixture[str]):
    """As rich does where its pipe is closed."""

    class Exiting:
        @hookimpl
        def step_ended(self) -> None:
            raise SystemExit(1)

    assert api.run(tables, observers=[Exiting()]).checkpoint.step == 6
    assert "the observer Exiting failed in step_ended" in capsys.readouterr().err


class Full:
    """A stream onto a full disk."""

    encoding = "utf-8"

    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")

    def flush(self) -> None:
        raise OSError(28, "No space left on device")


def test_a_library_gives_the_streams_back(tables: Tables, monkeypatch: pytest.MonkeyPatch):
    import sys

    full = Full()
    monkeypatch.setattr(sys, "stderr", full)

    class Printing:
        @hookimpl
        def step_ended(self, step: int) -> None:
            print("hello", file=sys.stderr)
            said.append(step)

    said: list[int] = []
    run = api.run(tables, observers=[Printing()])
    assert sys.stderr is full
    assert said == list(range(1, 7))
    assert [row["alert"]["text"] for row in run.directory.read_alerts()] == [
        "the output cannot be written and is switched off: No space left on device"
    ]
