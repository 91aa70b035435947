"""What the metrics and the summary of a run hold."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest
from directions import note_directions

import ganzoo.api
from ganzoo.components.observer import RunView
from ganzoo.errors import Interrupted, OutputError, TrainingError
from ganzoo.observers.standard import MetricsLog, standard_observers
from ganzoo.recipe.model import TargetOptions
from ganzoo.registry.hookspecs import hookimpl
from ganzoo.storage.summary import at_target
from ganzoo.training.loop import train, write_summary
from ganzoo.training.run import Run


def summary_of(run: Run) -> dict[str, Any]:
    def no_constant(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    text = (run.directory.path / "summary.json").read_text()
    result: dict[str, Any] = json.loads(text, parse_constant=no_constant)
    return result


def test_a_whole_run_has_a_row_at_each_log_point_and_a_summary(build, manager) -> None:
    run = build()
    run.events.register_standard([MetricsLog()])
    train(run)
    rows = run.directory.read_metrics()
    assert [row["step"] for row in rows] == [10, 20, 30, 40]
    assert [row["epoch"] for row in rows] == [2.5, 5.0, 7.5, 10.0]
    seconds = [row["seconds"] for row in rows]
    assert seconds == sorted(seconds)
    assert {"loss/generator", "loss/discriminator", "images_per_second"} <= rows[-1].keys()

    summary = summary_of(run)
    assert summary["status"] == "complete"
    assert (summary["steps"], summary["total_steps"], summary["epoch"]) == (40, 40, 10.0)
    assert summary["metrics"]["loss/generator"] == rows[-1]["loss/generator"]
    assert summary["images_per_second"]["last"] == rows[-1]["images_per_second"]
    assert summary["scores"] == {"best": {}, "last": {}}
    assert "error" not in summary


def test_best_and_last_scores_know_their_direction(build) -> None:
    run, log = build(), MetricsLog()
    note_directions(run.directory, fid="lower", recall="higher", copies="none")
    for step, fid, recall in ((10, 80.0, 0.1), (20, 40.0, 0.3), (30, 60.0, 0.2)):
        run.step = step
        log.metrics_evaluated(run, step, {"fid": fid, "recall": recall, "copies": 0.5, "broken": float("nan")})
    write_summary(run)
    rows = run.directory.read_metrics()
    assert rows[0] | {"seconds": 0} == {
        "step": 10,
        "epoch": 2.5,
        "seconds": 0,
        "score/fid": 80.0,
        "score/recall": 0.1,
        "score/copies": 0.5,
    }
    assert summary_of(run)["scores"] == {
        "best": {"fid": {"value": 40.0, "step": 20}, "recall": {"value": 0.3, "step": 20}},
        "last": {
            "fid": {"value": 60.0, "step": 30},
            "recall": {"value": 0.2, "step": 30},
            "copies": {"value": 0.5, "step": 30},
        },
    }


def test_the_speed_of_a_run_is_the_median_of_its_log_points(build) -> None:
    run, log = build(), MetricsLog()
    for step, rate in ((10, 100.0), (20, 900.0), (30, 200.0)):
        log.step_ended(run, step, {"images_per_second": rate})
    write_summary(run)
    assert summary_of(run)["images_per_second"] == {"median": 200.0, "last": 200.0}


@pytest.mark.parametrize(("side", "found"), [({"below": 50.0}, (20, 3.0)), ({"above": 70.0}, (10, 1.0))])
def test_the_first_score_at_the_target_counts(side: dict[str, float], found: tuple[int, float]) -> None:
    values = ((10, 1.0, 80.0), (20, 3.0, 45.0), (30, 5.0, 75.0), (40, 7.0, 40.0))
    rows = [{"step": step, "seconds": seconds, "score/fid": fid} for step, seconds, fid in values]
    told = at_target(TargetOptions(score="fid", **side), rows)
    assert (told["target"]["step"], told["time_to_target"]) == found


def test_figures_that_are_not_finite_never_reach_the_file(build) -> None:
    run, log = build(), MetricsLog()
    log.step_ended(run, 10, {"loss/generator": float("nan"), "images_per_second": float("inf"), "lr/generator": 1e-4})
    assert run.directory.read_metrics()[0].keys() == {"step", "epoch", "seconds", "lr/generator"}


@pytest.mark.parametrize(
    ("error", "status"),
    [(Interrupted(15), "interrupted"), (KeyboardInterrupt(), "interrupted"), (TrainingError("nan"), "failed")],
)
def test_the_summary_tells_how_the_run_ended(build, error: BaseException, status: str) -> None:
    run = build()
    run.step = 7
    run.error = error
    write_summary(run)
    summary = summary_of(run)
    assert summary["status"] == run.status == status
    assert type(error).__name__ in summary["error"]
    assert summary["steps"] == 7


def test_a_resumed_run_goes_on_counting(build, manager, tables) -> None:
    class Stop:
        @hookimpl
        def step_ended(self, step: int) -> None:
            if step == 25:
                run.stop_signal = 15

    run = build()
    run.events.register_standard(standard_observers(run))
    run.events.register(Stop())
    with pytest.raises(Interrupted):
        train(run)
    assert summary_of(run)["status"] == "interrupted"
    before = run.directory.read_metrics()

    ganzoo.api.resume(run.directory.path, manager=manager)
    rows = run.directory.read_metrics()
    assert [row["step"] for row in rows] == [10, 20, 30, 40]
    assert rows[:2] == before
    assert rows[2]["seconds"] >= before[-1]["seconds"]
    assert summary_of(run)["status"] == "complete"


def test_a_resumed_run_that_is_killed_leaves_no_word_of_an_earlier_end(tables, manager) -> None:
    found = []

    class Looking:
        @hookimpl
        def run_started(self, run: RunView) -> None:
            found.append((run.directory.path / "summary.json").exists())

    path = ganzoo.api.run(tables, ["run.steps=1"], manager=manager).path
    assert (path / "summary.json").exists()
    ganzoo.api.resume(path, ["run.steps=2"], observers=[Looking()], manager=manager)
    assert found == [False]


def test_a_full_disk_ends_the_run_but_not_its_end(build, monkeypatch, capsys) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    run, log = build(), MetricsLog()
    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(OutputError, match=r"metrics\.jsonl: the disk is full: make room"):
        log.step_ended(run, 10, {"loss/generator": 1.0})
    monkeypatch.setattr(Path, "write_text", full)
    write_summary(run)
    assert "warning: the summary of the run is missing" in capsys.readouterr().err
