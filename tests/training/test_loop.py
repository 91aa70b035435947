"""The loop: how long it goes, when it looks at figures, and how it stops."""

from __future__ import annotations

import itertools
import json
import signal
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from ganzoo import api
from ganzoo.builtin.gan_trainer import GANTrainer
from ganzoo.components.world import World
from ganzoo.errors import Interrupted, LostProcessError, TrainingError
from ganzoo.registry.hookspecs import hookimpl
from ganzoo.registry.plugin_manager import PluginManager
from ganzoo.runtime.distributed import DistributedWorld
from ganzoo.runtime.random_state import kept_random_state
from ganzoo.storage.checkpoint import latest_checkpoint
from ganzoo.training.loop import joint_step
from ganzoo.training.non_finite import fetch_metrics


def steps_of(run: Any) -> list[int]:
    return [row["step"] for row in run.metrics]


def test_figures_come_every_so_often_and_at_the_end(tables: dict):
    run = api.run(tables, ["run.steps=7", "run.log_every=3"])
    assert steps_of(run) == [3, 6, 7]
    assert [row["epoch"] for row in run.metrics] == [3 / 8, 6 / 8, 7 / 8]
    assert all(row["images_per_second"] > 0 for row in run.metrics)


def test_the_speed_is_that_since_the_last_log_point(tables: dict[str, Any], monkeypatch: pytest.MonkeyPatch):
    times = (float(place**2) for place in itertools.count())  # each step takes longer than the one before
    monkeypatch.setattr("ganzoo.training.run.time", SimpleNamespace(perf_counter=lambda: next(times)))
    rows = api.run(tables, ["run.steps=6", "run.log_every=2", "trainer.batch_size=8"]).metrics
    logged = [row for row in rows if "images_per_second" in row]
    before = [{"step": 0, "seconds": 0.0}, *logged]
    assert [row["step"] for row in logged] == [2, 4, 6]
    for last, row in zip(before, logged, strict=False):
        speed = 8 * (row["step"] - last["step"]) / (row["seconds"] - last["seconds"])
        assert row["images_per_second"] == pytest.approx(speed)
    assert len({row["images_per_second"] for row in logged}) == 3


def test_of_a_lost_process_the_step_is_told_and_how_to_resume(tables: dict[str, Any], monkeypatch: pytest.MonkeyPatch):
    def lost(self: GANTrainer, batch: object) -> None:
        raise LostProcessError("another process of this run ended")

    monkeypatch.setattr(GANTrainer, "train_step", lost)
    told = r"^step 1: another process of this run ended: `ganzoo resume \S+`, started as this run was, goes on from its"
    with pytest.raises(LostProcessError, match=told):
        api.run(tables)


def test_each_process_draws_its_own_dropout_at_each_step_and_the_same_again():
    def drawn(seed: int, step: int, rank: int) -> tuple[float, ...]:
        recipe = SimpleNamespace(run=SimpleNamespace(seed=seed))
        trainer = SimpleNamespace(parts=SimpleNamespace(modules=list))
        run: Any = SimpleNamespace(world=DistributedWorld(rank, 2, rank, 2), recipe=recipe, step=step, trainer=trainer)
        with kept_random_state(), joint_step(run):
            return tuple(torch.rand(3).tolist())

    places = [(seed, step, rank) for seed in (0, 1) for step in (3, 4) for rank in (0, 1)]
    found = [drawn(*place) for place in places]
    assert len({*found}) == len(places)
    assert found == [drawn(*place) for place in places]


def test_what_costs_something_is_measured_at_log_points_only(tables: dict, monkeypatch: pytest.MonkeyPatch):
    asked = []

    def expensive_metrics(trainer: GANTrainer) -> dict[str, Tensor]:
        asked.append(trainer.steps)
        return {"gradient_norm/generator": torch.tensor(2.0)}

    monkeypatch.setattr(GANTrainer, "expensive_metrics", expensive_metrics)
    run = api.run(tables, ["run.steps=7", "run.log_every=3"])
    assert asked == [3, 6, 7]
    assert [row["gradient_norm/generator"] for row in run.metrics] == [2.0, 2.0, 2.0]


def test_the_last_value_of_a_term_with_an_interval_reaches_the_next_log_point(tables: dict):
    tables["penalties"] = [{"name": "r1", "interval": 4}, {"name": "r2"}]
    run = api.run(tables, ["run.steps=12", "run.log_every=3"])
    assert steps_of(run) == [3, 6, 9, 12]
    assert ["penalty/r1" in row for row in run.metrics] == [True, True, True, False]  # of steps 1, 5, 9
    assert all("penalty/r2" in row for row in run.metrics)
    every = api.run(tables, ["run.steps=12", "run.log_every=1"])
    assert [row["penalty/r1"] for row in run.metrics[:3]] == [every.metrics[step]["penalty/r1"] for step in (0, 4, 8)]


def test_a_longer_run_has_the_term_that_was_taken_before_it_was_resumed(tables: dict):
    tables["penalties"] = [{"name": "r1", "interval": 4}]  # of steps 1 and 5
    part = api.run(tables, ["run.steps=6", "run.log_every=4"])
    longer = api.resume(part.path, ["run.steps=8"])
    every = api.run(tables, ["run.steps=8", "run.log_every=1"])
    assert longer.metrics[-1]["step"] == 8
    assert longer.metrics[-1]["penalty/r1"] == every.metrics[4]["penalty/r1"]


@pytest.mark.parametrize(("epochs", "steps"), [(1, 8), (0.5, 4), (0.3, 3), (0.01, 1)])
def test_length_in_epochs(tables: dict, epochs: float, steps: int):
    """64 images in minibatches of 8; the last epoch begun counts."""
    del tables["run"]["steps"]
    tables["run"]["epochs"] = epochs
    assert api.run(tables).checkpoint.step == steps


def test_epochs_count_every_minibatch_of_a_step(tables: dict):
    del tables["run"]["steps"]
    tables["run"]["epochs"] = 1
    tables["trainer"]["discriminator_steps"] = 4
    run = api.run(tables)
    assert run.checkpoint.step == 2
    assert run.metrics[-1]["epoch"] == 1.0


def test_loss_that_is_no_number_ends_the_run(tables: dict):
    tables["trainer"]["discriminator_optimizer"] = {"name": "sgd", "lr": 9e18, "weight_decay": 9e18}
    with pytest.raises(TrainingError) as caught:
        api.run(tables, ["checkpoint.every=100"])
    assert caught.value.exit_code == 1
    assert "not finite any more. A lower learning rate" in str(caught.value)
    assert "no checkpoint is affected" in str(caught.value)  # there is none yet
    path = Path(tables["run"]["root"]) / "tiny/0001"
    summary = json.loads((path / "summary.json").read_text())
    assert summary["status"] == "failed"
    assert summary["error"].startswith("DivergedError: step 1: the loss of the generator (nan) is not finite any more")


def test_batch_norm_over_a_single_value_names_the_batch_size(tables: dict):
    tables["generator"] = {"name": "dcgan_dense", "width": 4}
    told = "a batch norm got one value of each channel in step 1, .*: --set trainer.batch_size=2, or more"
    with pytest.raises(TrainingError, match=told):
        api.run(tables, ["trainer.batch_size=1"])
    api.run(tables, ["trainer.batch_size=2", "run.steps=1"])


def test_all_figures_that_are_not_finite_are_named():
    figures = {"a": torch.tensor(1.0), "b": torch.tensor(float("nan")), "c": torch.tensor(float("-inf"))}
    with pytest.raises(TrainingError, match=r"^step 5: b, c are not"):
        fetch_metrics(figures, 5)
    assert fetch_metrics({"a": torch.tensor(1.5)}, 5) == {"a": 1.5}


def test_figures_are_means_over_all_processes():
    class Two(World):
        """The other process has figures that are 2 larger."""

        def all_reduce_mean_(self, tensors: Sequence[Tensor]) -> None:
            for tensor in tensors:
                tensor.add_(1)

    assert fetch_metrics({"a": torch.tensor(1.5), "b": 4.0}, 5, Two()) == {"a": 2.5, "b": 5.0}


class Stopping:
    """Sends signals to this process while it trains."""

    def __init__(self, at: int, *signals: int) -> None:
        self.at = at
        self.signals = signals

    @hookimpl
    def step_ended(self, step: int) -> None:
        if step == self.at:
            for number in self.signals:
                signal.raise_signal(number)


def stopped(tables: dict, at: int, *signals: int) -> Any:
    manager = PluginManager()
    manager.pluggy.register(Stopping(at, *signals))
    return api.run(tables, manager=manager)


def run_path(tables: dict) -> Path:
    return Path(tables["run"]["root"]) / "tiny/0001"


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signal_lets_the_step_finish_and_saves(tables: dict, number: int, code: int):
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(Interrupted, match=f"stopped by {signal.Signals(number).name}") as caught:
        stopped(tables, 4, number)
    assert caught.value.exit_code == code
    assert latest_checkpoint(run_path(tables) / "checkpoints", pytest.fail).step == 4
    summary = json.loads((run_path(tables) / "summary.json").read_text())
    assert (summary["status"], summary["steps"], summary["total_steps"]) == ("interrupted", 4, 6)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers


def test_second_signal_ends_at_once(tables: dict):
    with pytest.raises(KeyboardInterrupt):
        stopped(tables, 2, signal.SIGINT, signal.SIGINT)
    assert list((run_path(tables) / "checkpoints").iterdir()) == []
    assert json.loads((run_path(tables) / "summary.json").read_text())["status"] == "interrupted"


@pytest.mark.parametrize("more", [signal.SIGTERM, signal.SIGHUP])
def test_a_terminal_that_closes_sends_a_signal_more_than_once(tables: dict, more: int):
    """The shell sends SIGHUP and so does the system, while the step ends and while the state is being saved."""
    killing: list[int] = []

    class Closing:
        @hookimpl
        def step_ended(self, step: int) -> None:
            if step == 2:
                signal.raise_signal(signal.SIGHUP)
                signal.raise_signal(more)

        @hookimpl
        def run_failed(self) -> None:
            signal.raise_signal(more)

        @hookimpl
        def run_ended(self) -> None:
            signal.raise_signal(more)

    numbers = (signal.SIGHUP, signal.SIGTERM)
    before = [signal.signal(number, lambda number, _: killing.append(number)) for number in numbers]
    try:
        with pytest.raises(Interrupted, match="stopped by SIGHUP"):
            api.run(tables, observers=[Closing()])
        assert killing == []
        assert latest_checkpoint(run_path(tables) / "checkpoints", pytest.fail).step == 2
        signal.raise_signal(more)
        assert killing == [more]
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def test_ctrl_c_after_another_signal_ends_at_once(tables: dict):
    with pytest.raises(KeyboardInterrupt):
        stopped(tables, 2, signal.SIGTERM, signal.SIGINT)
    assert list((run_path(tables) / "checkpoints").iterdir()) == []


def test_signal_in_the_last_step_comes_too_late_to_stop_anything(tables: dict):
    run = stopped(tables, 6, signal.SIGTERM)
    assert run.checkpoint.step == 6
    assert json.loads((run.path / "summary.json").read_text())["status"] == "complete"


def test_run_in_another_thread_leaves_signals_alone(tables: dict):
    """Handlers can be set in the main thread alone; a notebook may train in another."""
    from concurrent.futures import ThreadPoolExecutor

    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(api.run, tables).result()
    assert run.checkpoint.step == 6
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
