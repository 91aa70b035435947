"""Several processes write into one run directory, and the scores of none are lost; damaged ones cost no training."""

from __future__ import annotations

import json
import multiprocessing
import os
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

import ganzoo
from ganzoo.evaluation.evaluation_log import Evaluation, add_evaluations, read_evaluations
from ganzoo.registry.hookspecs import hookimpl
from ganzoo.storage.disk import write_atomic, write_text
from ganzoo.storage.run_directory import RunDirectory

CARD = {
    "extractor": {"name": "inception", "features": 8},
    "real": {"dataset": "digits", "images": 9, "available": 9, "shape": "1×8×8", "pixels": "crc32:1"},
    "samples": {"images": 9, "weights": "ema", "batch_norm": "running", "precision": "fp32", "seed": 0},
    "run": "runs/a/0001",
    "step": 1,
    "device": "cpu",
}
WRITERS, TIMES = 4, 25


def evaluation(step: int, seed: int = 0) -> Evaluation:
    card = {**CARD, "step": step, "samples": {**CARD["samples"], "seed": seed}}
    return Evaluation.model_validate({"step": step, "scores": {"fid": 1.0}, "card": card})


def add_many(path: Path, writer: int) -> None:
    for time in range(TIMES):
        add_evaluations(RunDirectory(path), [evaluation(time, writer)])


def test_evaluations_of_several_processes(tmp_path: Path):
    context = multiprocessing.get_context("fork" if hasattr(os, "fork") else "spawn")
    children = [context.Process(target=add_many, args=(tmp_path, writer)) for writer in range(WRITERS)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0] * WRITERS
    found = {(each.step, each.card.samples.seed) for each in read_evaluations(RunDirectory(tmp_path))}
    assert found == {(time, writer) for time in range(TIMES) for writer in range(WRITERS)}
    assert {path.name for path in tmp_path.iterdir()} <= {"evaluation.json", ".evaluation.lock"}


def test_a_file_of_several_threads_is_always_that_of_one(tmp_path: Path):
    path, errors = tmp_path / "a.json", []

    def write(writer: int) -> None:
        try:
            for _ in range(50):
                write_text(path, json.dumps([writer] * 1000))
                assert len(set(json.loads(path.read_text()))) == 1
        except Exception as error:
            errors.append(error)

    threads = [Thread(target=write, args=(writer,)) for writer in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


def test_one_writer_within_another(tmp_path: Path):
    path = tmp_path / "grid.png"

    def write(partial: Path) -> None:
        partial.write_text("first")
        write_atomic(path, lambda other: other.write_text("second"))

    write_atomic(path, write)
    assert path.read_text() == "first"


@pytest.mark.parametrize("content", ["{", "[{}]", "{}", "\x00" * 40, '[{"step": 1}'])
def test_damaged_scores_stop_neither_a_run_nor_its_resume(
    tables: dict, capsys: pytest.CaptureFixture[str], content: str
):
    class Damaging:
        @hookimpl(tryfirst=True)
        def step_ended(self, run: Any, step: int) -> None:
            if step == 3:
                (run.directory.path / "evaluation.json").write_text(content)

    tables["evaluation"] = {"every": 2, "samples": 16, "metrics": ["diversity"]}
    run = ganzoo.run(tables, observers=[Damaging()])
    assert run.checkpoint.step == 6
    assert {each.step for each in read_evaluations(run.directory)} == {4, 6}
    assert (run.path / "evaluation.damaged.json").read_text() == content
    assert "evaluation.json: is damaged; it is kept as evaluation.damaged.json" in capsys.readouterr().err
    (run.path / "evaluation.json").write_text(content)
    resumed = ganzoo.resume(run.path, {"run.steps": 8})
    assert resumed.checkpoint.step == 8
    assert {each.step for each in read_evaluations(run.directory)} == {8}


def test_damaged_scores_do_not_cost_an_evaluation(tables: dict):
    trained = ganzoo.run(tables, {"run.steps": 1})
    (trained.path / "evaluation.json").write_text("[")
    ganzoo.evaluate(trained, 16, overrides={"evaluation.metrics": ["diversity"]})
    assert [each.step for each in read_evaluations(trained.directory)] == [1]


def test_an_evaluation_beside_a_run_that_evaluates_itself(tables: dict):
    """As often as steps end, in the middle of the run's own writing."""
    others: list[Thread] = []

    class Beside:
        @hookimpl(tryfirst=True)
        def step_ended(self, run: Any, step: int) -> None:
            others.append(Thread(target=add_evaluations, args=(run.directory, [evaluation(step, 77)])))
            others[-1].start()

    tables["evaluation"] = {"every": 1, "samples": 16, "metrics": ["diversity"]}
    run = ganzoo.run(tables, observers=[Beside()])
    for other in others:
        other.join()
    found = [(each.step, each.card.samples.seed) for each in read_evaluations(run.directory)]
    assert sorted(found) == sorted((step, seed) for step in range(1, 7) for seed in (run.recipe.evaluation.seed, 77))
