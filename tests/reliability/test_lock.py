"""One process at a time trains in a run directory, and a killed one does not stand in the way."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from same import assert_same_checkpoint

from ganzoo import api
from ganzoo.errors import OutputError, RunDirectoryError
from ganzoo.registry.hookspecs import hookimpl
from ganzoo.registry.plugin_manager import PluginManager
from ganzoo.storage.run_directory import HOLDER, RunDirectory, run_lock

Tables = dict[str, Any]


@pytest.mark.slow
def test_resume_of_a_run_that_is_under_way(
    tables: Tables, recipe_file: Callable[[Tables], Path], forked: Callable[..., subprocess.Popen[str]], command: Any
):
    """Refused while the process lives, with its number; granted as soon as it is killed, W&B's own still there."""
    tables["run"] |= {"steps": 100_000, "log_every": 1}
    tables["tracking"]["wandb"]["mode"] = "offline"
    child = forked("run", recipe_file(tables), cwd=recipe_file(tables).parent)
    run = Path(tables["run"]["root"]) / "tiny/0001"
    deadline = time.monotonic() + 120
    while not list(run.glob("checkpoints/step_*")):
        assert child.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    ended = command("resume", run)
    assert ended.code == 2
    assert ended.out == ""
    assert ended.err == (f"error: {run}: process {child.pid} is training in it; wait for its end, or stop it first\n")
    assert api.load_run(run).sample(1).shape == (1, 3, 16, 16)  # reading is always allowed
    child.kill()
    child.wait()
    assert json.loads((run / HOLDER).read_text())["pid"] == child.pid
    step = api.load_run(run).checkpoint.step
    resumed = api.resume(run, [f"run.steps={step + 2}", "tracking.wandb.mode=disabled"])
    assert resumed.checkpoint.step == step + 2
    assert not (run / HOLDER).exists()


def test_a_run_and_its_resume_in_one_process(tables: Tables):
    refused: list[str] = []

    class Trying:
        @hookimpl
        def step_ended(self, run: Any, step: int) -> None:
            if step in (2, 5):
                with pytest.raises(RunDirectoryError) as caught:
                    api.resume(run.directory.path)
                refused.append(str(caught.value))

    manager = PluginManager()
    manager.pluggy.register(Trying())
    whole = api.run(tables, manager=manager)
    assert refused == [f"{whole.path}: process {os.getpid()} is training in it; wait for its end, or stop it first"] * 2
    again = api.run(tables, ["run.steps=4"])
    assert_same_checkpoint(api.resume(again.path, ["run.steps=6"]).checkpoint.path, whole.checkpoint.path)


def test_the_lock_is_let_go_after_an_error(tables: Tables):
    run = api.run(tables)
    for _ in range(2):
        with pytest.raises(Exception, match="is complete at step 6"):
            api.resume(run.path)
    assert not (run.path / HOLDER).exists()


@pytest.mark.parametrize("holder", [None, "", "{}", "[]", '{"pid": "x"}', '{"pid": 7, "host": "elsewhere"}'])
def test_the_name_of_the_holder_is_a_courtesy(tmp_path: Path, holder: str | None):
    with run_lock(RunDirectory(tmp_path)):
        if holder is None:
            (tmp_path / HOLDER).unlink()
        else:
            (tmp_path / HOLDER).write_text(holder)
        name = "process 7 on elsewhere" if holder and "elsewhere" in holder else "another process"
        with (
            pytest.raises(RunDirectoryError, match=f"{tmp_path}: {name} is training in it"),
            run_lock(RunDirectory(tmp_path)),
        ):
            raise AssertionError


def hold(path: Path, entered: Any, all_tried: Any) -> None:
    try:
        with run_lock(RunDirectory(path)):
            entered.put(os.getpid())
            all_tried.wait(60)
    except RunDirectoryError:
        entered.put(0)


def test_of_many_processes_one_gets_in(tmp_path: Path):
    context = multiprocessing.get_context("fork" if hasattr(os, "fork") else "spawn")
    entered = context.SimpleQueue()
    all_tried = context.Event()
    children = [context.Process(target=hold, args=(tmp_path, entered, all_tried)) for _ in range(6)]
    for child in children:
        child.start()
    assert sorted(entered.get() > 0 for _ in children) == [False] * 5 + [True]
    all_tried.set()
    for child in children:
        child.join()


def test_a_folder_that_cannot_be_written_to(tables: Tables, monkeypatch: pytest.MonkeyPatch):
    run = api.run(tables)

    def refuse(*arguments: Any, **options: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("ganzoo.storage.run_directory.FileLock.acquire", refuse)
    with pytest.raises(OutputError, match=f"{run.path}: cannot be written: Permission denied"):
        api.resume(run.path, ["run.steps=9"])
