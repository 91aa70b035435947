"""A run that ends at a score: with the bits of one that does not, timed by one clock, refused where it cannot be."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from same import assert_same_checkpoint, rows
from torchrun import start

from ganzoo import api
from ganzoo.builtin.gan_trainer import GANTrainer
from ganzoo.errors import Interrupted, RecipeError, RequestError
from ganzoo.evaluation.evaluator import Evaluator
from ganzoo.observers import samples
from ganzoo.observers.standard import PeriodicEvaluation
from ganzoo.plugin import RunView, hookimpl
from ganzoo.storage.run_directory import RunDirectory
from ganzoo.sweeps.child_processes import ended
from ganzoo.training import checkpointing

Tables = dict[str, Any]

PLUGIN = '''
from ganzoo.plugin import Metric, hookimpl

class Spread(Metric):
    """The spread of the samples: as a value that is better low, and as one that is better high."""

    needs = frozenset({"pixels"})
    directions = {"narrow": "lower", "wide": "higher", "neither": "none"}

    def compute(self, inputs):
        spread = float(inputs.fake.std())
        return {"narrow": spread, "wide": spread, "neither": spread}

@hookimpl
def register_metrics(register):
    register("spread", Spread)
'''


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, tables_in: Callable[[Path], Tables]) -> Tables:
    """Six steps, each saved, whose samples are scored by a metric of a plugin file after each second one."""
    root = tmp_path_factory.mktemp("target")
    (root / "spread.py").write_text(PLUGIN)
    return tables_in(root) | {
        "plugins": {"files": [str(root / "spread.py")]},
        "evaluation": {"every": 2, "samples": 16, "metrics": ["spread"]},
        "checkpoint": {"every": 1, "keep": 10},
    }


@pytest.fixture(scope="module")
def whole(base: Tables) -> Path:
    """The run without a target."""
    return api.run(base, ["trainer.ema_decay=0.9"]).path


@pytest.fixture(scope="module")
def target(whole: Path) -> Tables:
    """A target that the run reaches at step 4, its second evaluation."""
    second, fourth, _ = (row["score/narrow"] for row in rows(whole) if "score/narrow" in row)
    assert second != fourth
    between = (second + fourth) / 2
    return {"score": "narrow", "below": between} if fourth < second else {"score": "wide", "above": between}


@pytest.fixture
def aimed(base: Tables, target: Tables) -> Tables:
    return base | {"run": base["run"] | {"target": target}, "trainer": base["trainer"] | {"ema_decay": 0.9}}


def summary(path: Path) -> Tables:
    content: Tables = json.loads((path / "summary.json").read_text())
    return content


def harder(target: Tables) -> str:
    side = "below" if "below" in target else "above"
    return f"run.target.{side}={-1e6 if side == 'below' else 1e6}"


def test_it_ends_at_the_target_with_the_bits_of_the_run_without_one(
    aimed: Tables, whole: Path, target: Tables, capsys: pytest.CaptureFixture[str]
):
    run = api.run(aimed)
    assert_same_checkpoint(whole / "checkpoints" / "step_0000004", run.path / "checkpoints" / "step_0000004")
    assert run.checkpoint.step == 4
    assert rows(run.path) == [row for row in rows(whole) if row["step"] <= 4]
    found = summary(run.path)
    (last,) = [row for row in run.metrics if "score/narrow" in row and row["step"] == 4]
    assert (found["status"], found["steps"], found["total_steps"]) == ("reached", 4, 6)
    assert found["target"] == target | {"reached": True, "value": last["score/narrow"], "step": 4}
    assert found["time_to_target"] == last["seconds"] > 0
    assert (run.path / "samples" / "step_0000004.png").is_file()  # though none was due there
    printed = capsys.readouterr().err
    assert f"reached: {target['score']}" in printed
    assert "s of training, without evaluation, samples and checkpoints" in printed
    assert ended(RunDirectory(run.path)) == "complete"
    (run.path / "summary.json").unlink()  # as if killed after the last checkpoint
    assert ended(RunDirectory(run.path)) == "complete"


@pytest.mark.slow
def test_a_reached_run_is_resumed_with_a_harder_target_or_none(aimed: Tables, whole: Path, target: Tables):
    run = api.run(aimed)
    before = summary(run.path)["seconds"]
    with pytest.raises(RequestError, match=r"is complete: it reached its target, .*, at step 4; .*'run.target=\{\}'"):
        api.resume(run.path, trust_plugins=True)
    resumed = api.resume(run.path, [harder(target)], trust_plugins=True)
    found = summary(resumed.path)
    assert (found["status"], found["target"]["reached"], found["time_to_target"]) == ("complete", False, None)
    assert found["seconds"] > before
    assert_same_checkpoint(whole / "checkpoints" / "step_0000006", run.path / "checkpoints" / "step_0000006")
    assert rows(run.path) == rows(whole)
    longer = api.resume(run.path, ["run.target={}", "run.steps=7"], trust_plugins=True)
    assert summary(longer.path)["status"] == "complete"
    assert "target" not in summary(longer.path)


class Stop:
    """Asks the run to stop after its third step."""

    @hookimpl
    def step_ended(self, step: int) -> None:
        if step == 3:
            signal.raise_signal(signal.SIGINT)


def test_stopped_before_it_and_resumed(aimed: Tables, whole: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(Interrupted):
        api.run(aimed, observers=[Stop()])
    (path,) = [each for each in (whole.parent).iterdir() if not (each / "checkpoints" / "step_0000004").exists()]
    first = summary(path)
    assert (first["status"], first["target"]["reached"]) == ("interrupted", False)
    run = api.resume(path, trust_plugins=True)
    assert_same_checkpoint(whole / "checkpoints" / "step_0000004", run.path / "checkpoints" / "step_0000004")
    # The first part ended a step after its last row of metrics, and counts up to there.
    assert (
        summary(path)["time_to_target"] > first["seconds"] > [r for r in run.metrics if r["step"] == 2][-1]["seconds"]
    )


def test_only_training_is_counted(base: Tables, monkeypatch: pytest.MonkeyPatch):
    """By a clock that goes on by a second a step, and by a hundred in whatever observers do."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def slower(method: Callable[..., Any], seconds: float) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            now[0] += seconds
            return method(*arguments, **options)

        return call

    class Slow:
        @hookimpl
        def run_started(self) -> None:
            now[0] += 100

        @hookimpl
        def step_ended(self) -> None:
            now[0] += 100

    monkeypatch.setattr(GANTrainer, "train_step", slower(GANTrainer.train_step, 1.0))
    monkeypatch.setattr(Evaluator, "evaluate", slower(Evaluator.evaluate, 100.0))
    monkeypatch.setattr(samples, "fixed_samples", slower(samples.fixed_samples, 100.0))
    monkeypatch.setattr(checkpointing, "write_checkpoint", slower(checkpointing.write_checkpoint, 100.0))
    run = api.run(base, ["samples.every=1", "run.log_every=3"], observers=[Slow()])
    logged = [row for row in run.metrics if "images_per_second" in row]
    assert [(row["step"], row["seconds"]) for row in logged] == [(3, 3.0), (6, 6.0)]
    assert [row["images_per_second"] for row in logged] == [8.0, 8.0]
    assert [row["seconds"] for row in run.metrics if "score/narrow" in row] == [2.0, 4.0, 6.0]
    assert summary(run.path)["seconds"] == 6.0


def test_a_killed_run_goes_on_with_the_seconds_of_its_checkpoint(base: Tables, monkeypatch: pytest.MonkeyPatch):
    """Its last row of metrics may be far before that, and it has no summary."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    train_step = GANTrainer.train_step

    def slow(self: GANTrainer, *arguments: Any) -> Any:
        now[0] += 1
        return train_step(self, *arguments)

    monkeypatch.setattr(GANTrainer, "train_step", slow)
    run = api.run(base, ["run.log_every=1000", "evaluation.every=1000"])
    (run.path / "summary.json").unlink()
    for step in (5, 6):
        shutil.rmtree(run.path / "checkpoints" / f"step_{step:07d}")
    api.resume(run.path, ["run.steps=7"], trust_plugins=True)
    assert summary(run.path)["seconds"] == 7.0


class Late:
    """Scores an earlier step, with a value that is not finite too."""

    @hookimpl
    def step_ended(self, run: RunView, step: int) -> None:
        if step in (1, 3):
            run.fire("metrics_evaluated", step=step, scores={"wide": float("inf") if step == 1 else 1e9})


def test_scores_of_other_observers_count_and_infinity_does_not(base: Tables):
    base = base | {"run": base["run"] | {"target": {"score": "wide", "above": 1e6}}}
    run = api.run(base, observers=[Late()])
    assert (run.checkpoint.step, summary(run.path)["target"]["step"]) == (3, 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"score": "narow", "below": 1.0},
            'run.target.score: [evaluation] takes no score "narow", did you mean narrow?',
        ),
        ({"score": "narrow", "below": 1.0, "above": 1.0}, "run.target: give either below or above, one of the two"),
        ({"score": "narrow"}, "run.target: give either below or above, one of the two"),
        ({"score": "narrow", "above": 1.0}, 'run.target.above: lower values of "narrow" are better: give below in'),
        ({"score": "wide", "below": 1.0}, 'run.target.below: higher values of "wide" are better: give above in its'),
        ({"score": "neither", "below": 1.0}, 'run.target.score: no values of "neither" are better than others'),
        ("narrow", 'run.target: is "narrow", but must be a table: [run.target]'),
    ],
)
def test_a_target_that_cannot_be_reached_is_told_with_all_else(base: Tables, changes: Any, message: str):
    tables = base | {"run": base["run"] | {"target": changes}, "loss": {"name": "hinge", "margn": 1}}
    with pytest.raises(RecipeError) as raised:
        api.run(tables)
    text = str(raised.value)
    assert message in text
    assert "loss.margn: there is no such key" in text


def test_a_target_without_evaluations(parse: Callable[..., Any], tables: Tables):
    with pytest.raises(RecipeError, match=r"run.target: needs scores while training: set evaluation.every"):
        parse(tables, "run.target.score=fd_classifier", "run.target.below=1.0")


def test_a_score_for_which_the_data_has_no_classes(parse: Callable[..., Any], tables: Tables):
    """Inception serves images without classes, and whether there are any shows when the data is open."""
    recipe = parse(tables, "run.target.score=fid", "run.target.below=1.0", "evaluation.every=2")
    evaluation = PeriodicEvaluation(lambda: cast("Evaluator", SimpleNamespace(score_names=lambda: {"fd_classifier"})))
    with pytest.raises(RequestError, match=r'"fid" is not among the scores of this dataset; name one of fd_classifier'):
        evaluation.run_started(cast("RunView", SimpleNamespace(recipe=recipe)))


def test_a_score_that_this_generator_cannot_have(tables: Tables, capsys: pytest.CaptureFixture[str]):
    tables["evaluation"] = {"every": 2, "samples": 8, "metrics": ["class_accuracy"]}
    run = api.run(tables, ["run.target.score=class_accuracy", "run.target.above=0.5"])
    told = 'run.target.score: there is no "class_accuracy" of this generator and dataset'
    assert capsys.readouterr().err.count(told) == 1
    assert json.loads((run.path / "summary.json").read_text())["target"]["reached"] is False


@pytest.mark.slow
def test_two_processes_stop_at_the_same_step(base: Tables, recipe_file: Callable[[Tables], Path], tmp_path: Path):
    def train(*settings: str) -> Path:
        words = [word for text in (f"run.root={tmp_path}", *settings) for word in ("--set", text)]
        child = start(2, "-m", "ganzoo", "run", recipe_file(base), *words)
        out, err = child.communicate(timeout=120)
        assert child.returncode == 0, err
        return Path(out.strip())

    without = train()
    second, fourth, _ = (row["score/narrow"] for row in rows(without) if "score/narrow" in row)
    score, side = ("narrow", "below") if fourth < second else ("wide", "above")
    reached = train(f"run.target.score={score}", f"run.target.{side}={(second + fourth) / 2}")
    assert (summary(reached)["status"], summary(reached)["target"]["step"]) == ("reached", 4)
    assert_same_checkpoint(without / "checkpoints" / "step_0000004", reached / "checkpoints" / "step_0000004")
