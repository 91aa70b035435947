"""`ganzoo run` and `ganzoo resume`, in this process and as processes that are told to stop."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ganzoo import api
from ganzoo.storage.checkpoint import checkpoint_folders, open_checkpoint

Command = Callable[..., Any]
RecipeFile = Callable[[dict], Path]


def test_last_line_is_the_run_directory(command: Command, recipe_file: RecipeFile, tables: dict):
    ended = command("run", recipe_file(tables), "--set", "run.steps=2")
    assert ended.code == 0
    path = Path(ended.out.splitlines()[-1])
    assert path == Path(tables["run"]["root"]) / "tiny/0001"
    assert json.loads((path / "summary.json").read_text())["status"] == "complete"
    resumed = command("resume", path, "--set", "run.steps=4")
    assert (resumed.code, resumed.out.splitlines()[-1]) == (0, str(path))
    assert resumed.err.splitlines()[-4:] == [
        f"samples:   {path}/samples/step_0000004.png",
        f"sample:    ganzoo sample {path} --out 0001.png",
        f"evaluate:  ganzoo evaluate {path}",
        f"compare:   ganzoo compare {path.parent}",
    ]
    assert json.loads((path / "summary.json").read_text())["steps"] == 4


def test_resume_of_a_complete_run(command: Command, tables: dict):
    run = api.run(tables, ["run.steps=1"])
    ended = command("resume", run.path)
    assert ended.code == 2
    assert ended.err.splitlines()[-1].endswith("is complete at step 1; to go on, ask for more with --set run.steps=…")


def test_root_that_is_a_file(command: Command, recipe_file: RecipeFile, tables: dict):
    Path(tables["run"]["root"]).write_text("in the way")
    ended = command("run", recipe_file(tables))
    assert ended.code == 2
    assert "error: run.root: no run directory can be made in" in ended.err


def test_what_shows_while_the_parts_are_built_is_told_with_the_file(
    command: Command, recipe_file: RecipeFile, tables: dict
):
    recipe = recipe_file(tables)
    for setting in ("init.freeze=['critic']", "init.from=gone"):
        ended = command("run", recipe, "--set", setting)
        assert ended.code == 2
        assert f"error: {recipe}: 1 problem\n  {setting.partition('=')[0]}: " in ended.err
    run = api.run(tables, ["run.steps=1"])
    ended = command("resume", run.path, "--set", "run.steps=2", "--set", "device.cuda_graphs=true")
    assert f"error: {run.path}/recipe.toml: 1 problem\n  device.cuda_graphs: CUDA graphs need" in ended.err


def test_wrong_run_directory(command: Command, tmp_path: Path):
    ended = command("resume", tmp_path / "gone")
    assert (ended.code, ended.err) == (2, f"error: {tmp_path / 'gone'}: there is no such run directory\n")


def wait_for_steps(child: subprocess.Popen[str], run: Path, steps: int) -> None:
    """Until its metrics tell of so many steps."""
    metrics, deadline = run / "metrics.jsonl", time.monotonic() + 120
    while not metrics.is_file() or len(metrics.read_text().splitlines()) < steps:
        assert child.poll() is None, child.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_processes_that_are_told_to_stop_and_one_that_is_killed(
    forked: Callable[..., subprocess.Popen[str]], recipe_file: RecipeFile, tables: dict
):
    """SIGTERM and SIGINT save where they stop, SIGKILL loses what is after the last checkpoint; all go on."""
    tables["run"] |= {"steps": 1_000_000, "log_every": 1}
    tables["checkpoint"]["every"] = 4
    tables["samples"]["every"] = 1_000_000
    recipe = recipe_file(tables)
    signals = {"term": signal.SIGTERM, "int": signal.SIGINT, "kill": signal.SIGKILL}
    children = {name: forked("run", recipe, "--set", f"run.name={name}") for name in signals}
    runs = {name: Path(tables["run"]["root"]) / name / "0001" for name in signals}
    for name, child in children.items():
        wait_for_steps(child, runs[name], 6)
        child.send_signal(signals[name])
    ended = {name: child.communicate(timeout=60) for name, child in children.items()}
    assert {name: child.returncode for name, child in children.items()} == {"term": 143, "int": 130, "kill": -9}
    for name, run in runs.items():
        if name != "kill":
            assert "Traceback" not in ended[name][1]
            summary = json.loads((run / "summary.json").read_text())
            assert summary["status"] == "interrupted"
            assert open_checkpoint(checkpoint_folders(run / "checkpoints")[-1]).step == summary["steps"]
        step = open_checkpoint(checkpoint_folders(run / "checkpoints")[-1]).step
        resumed = api.resume(run, [f"run.steps={step + 3}"])
        assert resumed.checkpoint.step == step + 3
        assert [row["step"] for row in resumed.metrics] == list(range(1, step + 4))
        assert json.loads((run / "summary.json").read_text())["status"] == "complete"
        leftovers = [path.name for path in (run / "checkpoints").iterdir() if path.name.startswith(".")]
        assert leftovers == []
