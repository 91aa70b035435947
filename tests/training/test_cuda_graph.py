"""Recorded training steps: the same run, by a recorder that stands for a GPU's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from ganzoo.components.dataset import Batch
from ganzoo.components.trainer import Trainer
from ganzoo.errors import RecipeError
from ganzoo.runtime.device import Compute
from ganzoo.training.build import build_run
from ganzoo.training.cuda_graph import WARM_UP, CUDAGraph, record_steps
from ganzoo.training.optimizing_trainer import OptimizingTrainer
from ganzoo.training.run import Run

GPU = Compute(torch.device("cuda"), "fp32", "")
Build = Callable[..., Run]


class Tape(CUDAGraph):
    """Does recorded work again as a graph does: on the batch it was recorded with, into the tensors it returned."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self._work: Callable[[], dict[str, Tensor]] | None = None
        self._metrics: dict[str, Tensor] = {}

    def warm_up(self, work: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        self.calls.append("warm up")
        return work()

    def record(self, work: Callable[[], dict[str, Tensor]]) -> None:
        self.calls.append("record")
        self._work = work

    def replay(self) -> dict[str, Tensor]:
        self.calls.append("replay")
        assert self._work is not None
        for name, value in self._work().items():
            self._metrics.setdefault(name, torch.empty_like(value)).copy_(value)
        return self._metrics


@pytest.fixture
def build(tables: dict[str, Any], parse: Any, manager: Any) -> Build:
    def make(*overrides: str, penalties: tuple[dict[str, Any], ...] = ()) -> Run:
        return build_run(parse({**tables, "penalties": list(penalties)}, *overrides), manager, warn=print)

    return make


def replayed(run: Run) -> tuple[Trainer, Tape]:
    tape = Tape()
    record_steps(run.trainer, GPU, tape)
    return run.trainer, tape


def state(trainer: Trainer) -> dict[str, Tensor]:
    return {
        f"{name}.{key}": value
        for name, network in trainer.networks().items()
        for key, value in network.state_dict().items()
    }


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["trainer.ema_decay=0.5", "trainer.ema_start=5"],
        ["trainer.schedule=alternate_minibatches"],
        ["trainer.discriminator_grad_clip=0.1"],
        ["trainer.name=pacgan", "trainer.packing=2"],
    ],
)
def test_replayed_steps_are_those_that_would_have_been_taken(overrides: list[str], build: Build) -> None:
    penalties = ({"name": "r1"},)
    taken, repeated = build(*overrides, penalties=penalties), build(*overrides, penalties=penalties)
    trainer, tape = replayed(repeated)
    for _ in range(7):
        expected = taken.trainer.train_step(taken.loader.next())
        found = trainer.train_step(repeated.loader.next())
        assert {name: value.item() for name, value in found.items()} == {
            name: value.item() for name, value in expected.items()
        }
    assert tape.calls == ["warm up"] * WARM_UP + ["record"] + ["replay"] * (7 - WARM_UP)
    for name, value in state(taken.trainer).items():
        assert torch.equal(state(trainer)[name], value), name
    assert trainer.state_dict()["steps"] == 7
    assert trainer.expensive_metrics().keys() == taken.trainer.expensive_metrics().keys()
    assert trainer.failure() is None


def test_a_replay_takes_the_values_that_schedules_have_by_then(build: Build) -> None:
    overrides = [
        "trainer.generator_optimizer={name = 'adam', lr = {from = 1e-3, to = 0.0, until = '8 steps'}}",
        "trainer.discriminator_optimizer={name = 'sgd', lr = {from = 1e-2, to = 0.0, until = '8 steps'}}",
    ]
    penalties = ({"name": "r1", "weight": {"from": 8.0, "to": 0.0, "until": "8 steps"}},)
    taken, repeated = build(*overrides, penalties=penalties), build(*overrides, penalties=penalties)
    trainer, _ = replayed(repeated)
    for step in range(7):
        expected = taken.trainer.train_step(taken.loader.next())
        found = trainer.train_step(repeated.loader.next())
        assert found["lr/generator"].item() == pytest.approx(1e-3 * (8 - step) / 8)
        assert {name: value.item() for name, value in found.items()} == pytest.approx(
            {name: value.item() for name, value in expected.items()}, rel=1e-4
        )
    for name, value in state(taken.trainer).items():
        torch.testing.assert_close(state(trainer)[name], value, rtol=1e-4, atol=1e-6)


def test_a_run_goes_on_from_a_state_that_was_saved_without_a_graph(build: Build) -> None:
    first, second = build(), build()
    for run in (first, second):
        run.trainer.train_step(run.loader.next())
    trainer, _ = replayed(second)
    trainer.load_state_dict(first.trainer.state_dict())
    assert trainer.state_dict()["steps"] == 1
    for optimizer in cast("OptimizingTrainer", second.trainer).optimizers():
        assert all(group["capturable"] for group in optimizer.param_groups), "counts its steps on the device"


def test_a_number_that_is_none_is_told_with_the_step_of_the_replay(build: Build) -> None:
    run = build()
    trainer, _ = replayed(run)
    for _ in range(WARM_UP + 2):
        trainer.train_step(run.loader.next())
    batch = run.loader.next()
    trainer.train_step(Batch(batch.real * torch.nan, batch.labels))
    failure = trainer.failure()
    assert failure is not None
    assert failure.step == WARM_UP + 3
    assert "the loss of the discriminator (nan)" in failure.what


@pytest.mark.parametrize(
    ("overrides", "penalties", "reason"),
    [
        (
            ["trainer.generator_optimizer={name = 'adam', betas = [0.5, {from = 0.9, to = 0.99}]}"],
            (),
            "betas of the generator's optimizer has a schedule",
        ),
        ([], ({"name": "r1", "interval": 4},), 'the penalty "r1" is not taken at every step'),
        ([], ({"name": "adaptive_augment"},), 'the penalty "adaptive_augment" does not say'),
        (["trainer.name=unrolled"], (), "Unrolled does not say that it does the same work"),
    ],
)
def test_steps_that_differ_are_refused(
    overrides: list[str], penalties: tuple[dict[str, Any], ...], reason: str, build: Build
) -> None:
    with pytest.raises(RecipeError) as caught:
        replayed(build(*overrides, penalties=penalties))
    assert f"device.cuda_graphs: {reason}" in str(caught.value)
    assert "set device.cuda_graphs to false" in str(caught.value)


def test_fp16_needs_an_optimizer_that_looks_at_gradients_on_the_device(build: Build) -> None:
    run = build("trainer.generator_optimizer.name=rmsprop")
    trainer = cast("Any", run.trainer)
    assert trainer.unrecordable() is None
    object.__setattr__(trainer.parts, "loss_scaling", True)
    assert "an optimizer that is not fused" in (trainer.unrecordable() or "")


def test_a_trainer_that_says_nothing_is_refused(build: Build) -> None:
    class Silent(Trainer):
        def train_step(self, batch: Batch) -> dict[str, Tensor]:
            return {}

        networks = state_dict = lambda self: {}
        load_state_dict = lambda self, state: None  # noqa: E731

    run = build()
    with pytest.raises(RecipeError, match="does not say whether its steps are alike"):
        record_steps(Silent(run.trainer.config, parts=run.trainer.parts), GPU, Tape())


def test_a_run_on_the_cpu_is_refused_before_anything_is_written(
    tables: dict[str, Any], recipe_file: Any, command: Any, tmp_path: Any
) -> None:
    ended = command("run", recipe_file(tables), "--set", "device.cuda_graphs=true")
    assert ended.code == 2
    assert "device.cuda_graphs: CUDA graphs need a CUDA GPU, and this run is on cpu" in ended.err
    assert not (tmp_path / "runs").exists()


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_on_a_gpu_a_graph_trains_as_the_steps_do(build: Build) -> None:
    losses = []
    for graphs in ("false", "true"):
        run = build("device.accelerator=cuda", f"device.cuda_graphs={graphs}")
        for _ in range(8):
            metrics = run.trainer.train_step(run.loader.next())
        losses.append({name: value.item() for name, value in metrics.items()})
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
