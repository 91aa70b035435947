"""`ganzoo run` and `ganzoo resume`, killed with SIGKILL again and again: the end is that of an unbroken run."""

from __future__ import annotations

import json
import random
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from same import assert_same_checkpoint, rows

from ganzoo import api
from ganzoo.storage.checkpoint import checkpoint_folders, open_checkpoint

KILLS = 10
STEPS = 500
SEED = 20240602
Tables = dict[str, Any]
Start = Callable[..., subprocess.Popen[bytes]]


@pytest.mark.slow
def test_killed_twenty_times(
    tables: Tables, recipe_file: Callable[[Tables], Path], tmp_path: Path, forked: Callable[..., Any]
):
    """Two runs, ten times each: every other time as it starts, else as it trains; one is tracked by W&B, offline."""
    tables["run"] |= {"steps": STEPS, "log_every": 3}
    tables["checkpoint"]["every"] = 10
    tables["dataset"] |= {"count": 20, "horizontal_flip": True}
    tables["trainer"]["ema_decay"] = 0.9
    recipe = recipe_file(tables)

    def begin(*arguments: str | Path) -> Any:
        return forked(*arguments, cwd=tmp_path)

    with ThreadPoolExecutor() as pool:
        modes = {"plain": "disabled", "tracked": "offline"}
        chains = [pool.submit(killed_again_and_again, begin, recipe, name, mode) for name, mode in modes.items()]
        assert torch.get_num_threads() == 1
        whole = api.run(tables).path
        killed = [chain.result() for chain in chains]
    assert killed == [KILLS, KILLS]
    for name in modes:
        run = Path(tables["run"]["root"]) / name / "0001"
        assert_same_checkpoint(
            *(path / "checkpoints" / f"step_{STEPS:07d}" for path in (whole, run)),
        )
        assert rows(run) == rows(whole)
        assert [row["step"] for row in rows(run)] == [*range(3, STEPS, 3), STEPS]
        assert json.loads((run / "summary.json").read_text())["status"] == "complete"
        assert [path.name for path in (run / "checkpoints").iterdir() if path.name[0] == "."] == []


def killed_again_and_again(begin: Callable[..., Any], recipe: Path, name: str, mode: str) -> int:
    """Run, kill, resume, kill, …, and then to the end; returns how often it was killed before it was complete."""
    chance = random.Random(f"{SEED} {name}")
    run = recipe.parent / "runs" / name / "0001"
    settings = [f"run.name={name}", f"tracking.wandb.mode={mode}"]
    child = begin("run", recipe, *(part for setting in settings for part in ("--set", setting)))
    wait_until((run / "recipe.toml").is_file, child)
    identities = set()
    for kill in range(KILLS):
        if kill % 2:
            time.sleep(chance.uniform(0, 0.4))
        else:
            length = size(run / "metrics.jsonl")
            wait_until(lambda length=length: size(run / "metrics.jsonl") != length, child)
            time.sleep(chance.uniform(0, 0.2))
        if child.poll() is not None:
            return kill
        child.kill()
        child.wait()
        assert all(open_checkpoint(path).resumable for path in checkpoint_folders(run / "checkpoints"))
        if (run / "wandb.json").is_file():
            identities.add(json.loads((run / "wandb.json").read_text())["id"])
        child = begin("resume", run)
    out, err = child.communicate(timeout=300)
    assert child.returncode == 0, err
    assert out.splitlines()[-1] == str(run)
    assert "Traceback" not in err
    assert len(identities) == (mode == "offline")
    if identities:
        assert {json.loads((run / "wandb.json").read_text())["id"]} == identities
    return KILLS


def size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def wait_until(reached: Callable[[], bool], child: Any) -> None:
    deadline = time.monotonic() + 120
    while not reached() and child.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
