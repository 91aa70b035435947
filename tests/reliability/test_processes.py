"""Several processes: resumed to the bit, stopped by a signal, killed one by one; one of them speaks, none hangs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from same import assert_same_checkpoint, rows
from torchrun import Ranks, start

from ganzoo.storage.checkpoint import latest_checkpoint

pytestmark = pytest.mark.slow

Tables = dict[str, Any]
Together = Callable[..., subprocess.Popen[str]]
ForkedTogether = Callable[..., Ranks]


@pytest.fixture
def together() -> Iterator[Together]:
    """Start `ganzoo` with these arguments in so many processes, which do not outlive the test."""
    started: list[subprocess.Popen[str]] = []

    def begin(count: int, *arguments: str | Path) -> subprocess.Popen[str]:
        started.append(start(count, "-m", "ganzoo", *arguments))
        return started[-1]

    yield begin
    for child in started:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
        for member in members(child.pid):
            os.kill(member, signal.SIGKILL)
        child.communicate()


@pytest.fixture
def forked_together() -> Iterator[ForkedTogether]:
    """The same without torchrun, which takes seconds to start and has no part in what is tested then."""
    started: list[Ranks] = []

    def begin(count: int, *arguments: str | Path) -> Ranks:
        started.append(Ranks(count, "-m", "ganzoo", *arguments))
        return started[-1]

    yield begin
    for ranks in started:
        ranks.kill()


@pytest.fixture
def endless(tables: Tables, recipe_file: Callable[[Tables], Path]) -> Path:
    tables["run"] |= {"steps": 1_000_000, "log_every": 1}
    tables["checkpoint"]["every"] = 5
    tables["trainer"]["ema_decay"] = 0.9
    return recipe_file(tables)


def members(torchrun: int) -> list[int]:
    """The processes that a torchrun started, in the order of their ranks."""
    ranks = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            environment = (place / "environ").read_bytes().split(b"\0")
            parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue
        rank = next((int(value[5:]) for value in environment if value.startswith(b"RANK=")), None)
        if parent == torchrun and rank is not None:
            ranks[rank] = int(place.name)
    return [ranks[rank] for rank in sorted(ranks)]


def lines(path: Path) -> int:
    return len(path.read_text().splitlines()) if path.is_file() else 0


def wait_until(reached: Callable[[], Any], child: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 300
    while not reached():
        assert child.poll() is None, child.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def finished(child: subprocess.Popen[str] | Ranks) -> str:
    out, err = child.communicate(timeout=300)
    assert child.returncode == 0, err
    assert "Traceback" not in err
    return out


def test_a_run_of_two_processes_is_resumed_to_the_bit(
    tables: Tables, recipe_file: Callable[[Tables], Path], together: Together, forked_together: ForkedTogether
):
    tables["trainer"] |= {"ema_decay": 0.9}
    tables["penalties"] = [{"name": "gradient_penalty"}]
    tables["device"]["sync_batch_norm"] = False
    recipe, root = recipe_file(tables), Path(tables["run"]["root"])
    whole = finished(together(2, "run", recipe, "--set", "run.name=whole"))
    assert whole == f"{root}/whole/0001\n"  # printed once
    finished(forked_together(2, "run", recipe, "--set", "run.name=parts", "--set", "run.steps=3"))
    finished(forked_together(2, "resume", root / "parts/0001", "--set", "run.steps=6"))
    assert [path.name for path in sorted(root.iterdir())] == ["parts", "whole"]
    assert_same_checkpoint(*(root / name / "0001/checkpoints/step_0000006" for name in ("parts", "whole")))
    # The first part logged its last step, which is none of the whole run's log points.
    parts = [row for row in rows(root / "parts/0001") if row["step"] != 3]
    assert parts == rows(root / "whole/0001")
    finished(forked_together(4, "resume", root / "parts/0001", "--set", "run.steps=7"))  # with another number
    assert latest_checkpoint(root / "parts/0001/checkpoints", pytest.fail).step == 7


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["term", "int"])
def test_a_signal_to_torchrun_saves_the_state(
    endless: Path, tables: Tables, together: Together, number: signal.Signals
):
    child = together(2, "run", endless)
    run = Path(tables["run"]["root"]) / "tiny/0001"
    wait_until(lambda: lines(run / "metrics.jsonl") > 6, child)
    child.send_signal(number)
    child.send_signal(number)  # as a scheduler sends one to each, and torchrun another
    _, err = child.communicate(timeout=60)
    ours = [line for line in err.splitlines() if line.startswith("error:")]
    told = [f"error: stopped by {name}" for name in (number.name, "SIGTERM")]  # told twice, torchrun may send its own
    assert ours in ([line] for line in told)
    summary = json.loads((run / "summary.json").read_text())
    assert summary["status"] == "interrupted"
    step = latest_checkpoint(run / "checkpoints", pytest.fail).step
    assert step == summary["steps"] == lines(run / "metrics.jsonl")


@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_is_killed_ends_the_run(
    endless: Path, tables: Tables, together: Together, forked_together: ForkedTogether, rank: int
):
    child = together(2, "run", endless)
    run = Path(tables["run"]["root"]) / "tiny/0001"
    wait_until(lambda: lines(run / "metrics.jsonl") > 6, child)
    os.kill(members(child.pid)[rank], signal.SIGKILL)
    begun = time.monotonic()
    _, err = child.communicate(timeout=60)
    assert time.monotonic() - begun < 60
    assert child.returncode == 1
    (ours,) = [line for line in err.splitlines() if line.startswith("error:")]
    assert "another process of this run ended" in ours
    assert f"`ganzoo resume {run}`" in ours
    step = latest_checkpoint(run / "checkpoints", pytest.fail).step
    assert step >= 5
    steps = f"run.steps={step + 2}"
    finished(forked_together(2, "resume", run, "--set", steps))
    finished(forked_together(2, "run", endless, "--set", "run.name=whole", "--set", steps))
    whole = run.parents[1] / "whole/0001"
    assert_same_checkpoint(*(each / f"checkpoints/step_{step + 2:07d}" for each in (run, whole)))


def test_the_first_evaluates_while_the_others_wait(
    tables: Tables, recipe_file: Callable[[Tables], Path], forked_together: ForkedTogether
):
    tables["evaluation"] = {"every": 3, "samples": 32}
    finished(forked_together(2, "run", recipe_file(tables)))
    scored = [row for row in rows(Path(tables["run"]["root"]) / "tiny/0001") if "score/fd_classifier" in row]
    assert [row["step"] for row in scored] == [3, 6]


def test_processes_diverge_together(
    tables: Tables, recipe_file: Callable[[Tables], Path], forked_together: ForkedTogether
):
    tables["trainer"]["generator_optimizer"] = {"name": "sgd", "lr": 9e18, "weight_decay": 9e18}
    tables["run"]["log_every"] = 6
    child = forked_together(2, "run", recipe_file(tables))
    _, err = child.communicate(timeout=300)
    assert child.returncode == 1
    (ours,) = [line for line in err.splitlines() if line.startswith("error:")]
    assert "not finite any more" in ours
    (kept,) = (Path(tables["run"]["root"]) / "tiny/0001/failure").glob("*.pt")
    assert torch.load(kept, weights_only=True)["images"].shape == (8, 3, 16, 16)  # of all processes


def test_one_process_says_what_is_wrong_with_a_recipe(
    tables: Tables, recipe_file: Callable[[Tables], Path], together: Together
):
    tables["trainer"]["batch_size"] = 9
    child = together(2, "run", recipe_file(tables))
    out, err = child.communicate(timeout=300)
    assert child.returncode == 1
    assert out == ""
    assert [line for line in err.splitlines() if line.startswith("error:")] == [
        "error: trainer.batch_size is 9 and there are 2 processes: set it to a multiple of 2"
    ]
    assert not Path(tables["run"]["root"]).exists()
