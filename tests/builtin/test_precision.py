"""In a bf16 run only the networks' products are in bf16: losses, penalties, statistics, norms and averages are fp32."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ganzoo.builtin.gan_trainer import GANTrainer
from ganzoo.components.penalty import Penalty, PenaltyStep
from ganzoo.training.build import build_run
from ganzoo.training.run import Run

Build = Callable[..., Run]
GRADIENT_PENALTIES = ("r1", "r2", "gradient_penalty", "dragan")


@pytest.fixture
def build(tables: dict[str, Any], parse: Any, manager: Any) -> Build:
    """A run of a precision, with penalties and overrides."""

    def make(precision: str, *overrides: str, penalties: tuple[str, ...] = ()) -> Run:
        recipe = {**tables, "penalties": [{"name": name} for name in penalties]}
        return build_run(parse(recipe, f"device.precision={precision}", *overrides), manager, warn=print)

    return make


class Types(TorchDispatchMode):
    """Which types convolutions and products were computed in."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[torch.dtype] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func._overloadpacket in (torch.ops.aten.convolution, torch.ops.aten.mm, torch.ops.aten.addmm):
            self.seen.add(args[-1].dtype if isinstance(args[-1], Tensor) else args[0].dtype)
        return func(*args, **(kwargs or {}))


def spied(penalty: Penalty, method: str, into: dict[str, Any]) -> None:
    original = getattr(penalty, method)

    def spy(step: PenaltyStep) -> Tensor | None:
        with Types() as types:
            term: Tensor | None = original(step)
        into.update(types=types.seen, autocast=torch.is_autocast_enabled("cpu"), term=term, step=step)
        return term

    setattr(penalty, method, spy)


@pytest.mark.parametrize("name", GRADIENT_PENALTIES)
def test_penalties_on_gradients_are_computed_in_fp32(name: str, build: Build) -> None:
    run = build("bf16", "discriminator.norm=none", penalties=(name,))
    penalty = run.trainer.parts.penalties[name]
    found: dict[str, Any] = {}
    spied(penalty, "discriminator_term", found)
    with Types() as types:
        run.trainer.train_step(run.loader.next())
    assert torch.bfloat16 in types.seen, "the run as a whole is in bf16"
    assert found["types"] == {torch.float32}
    assert not found["autocast"]
    assert found["term"].dtype is torch.float32
    for images in (found["step"].real, found["step"].fake):
        assert images.dtype is torch.float32


@pytest.mark.parametrize("name", ["r1", "r2"])
def test_a_penalty_is_the_same_number_in_a_bf16_run(name: str, build: Build) -> None:
    """For the same weights and images; r2's images come out of the generator, so they are handed over."""
    terms = []
    for precision in ("fp32", "bf16"):
        run = build(precision, "discriminator.norm=none", penalties=(name,))
        images = run.loader.next().real
        parts = run.trainer.parts
        step = PenaltyStep(
            generator=parts.generator,
            discriminator=parts.discriminator,
            real=images,
            fake=images.flip(0),
            unaugmented_real=images,
            unaugmented_fake=images.flip(0),
            latents=torch.zeros(len(images), 8),
            labels=None,
            condition=None,
            real_logits=None,
            fake_logits=torch.zeros(len(images)),
            rng=parts.rng,
        )
        terms.append(parts.penalties[name].discriminator_term(step))
    assert torch.equal(*terms)


@pytest.mark.parametrize("loss", ["non_saturating", "hinge", "wasserstein", "relativistic_average"])
def test_losses_see_logits_in_fp32_outside_autocast(loss: str, build: Build, tables: dict[str, Any]) -> None:
    tables["loss"] = {"name": loss}
    run = build("bf16")
    seen = []
    for method in ("discriminator_loss", "generator_loss"):
        original = getattr(run.trainer.parts.loss, method)

        def spy(real: Tensor | None, fake: Tensor, original: Any = original) -> Tensor:
            result: Tensor = original(real, fake)
            seen.extend(
                (each.dtype, torch.is_autocast_enabled("cpu")) for each in (real, fake, result) if each is not None
            )
            return result

        setattr(run.trainer.parts.loss, method, spy)
    run.trainer.train_step(run.loader.next())
    assert len(seen) >= 5
    assert set(seen) == {(torch.float32, False)}


def test_weights_gradients_optimizers_and_averages_are_fp32(build: Build) -> None:
    run = build("bf16", "trainer.ema_decay=0.9", "trainer.generator_grad_clip=1.0")
    run.trainer.train_step(run.loader.next())
    trainer = run.trainer
    assert isinstance(trainer, GANTrainer)
    for network in trainer.networks().values():
        assert {value.dtype for value in network.state_dict().values()} == {torch.float32, torch.int64}
    for network in (trainer.parts.generator, trainer.parts.discriminator):
        assert {parameter.grad.dtype for parameter in network.parameters() if parameter.grad is not None} == {
            torch.float32
        }
    states = [
        *trainer.optimizer_steps["generator"].optimizer.state.values(),
        *trainer.optimizer_steps["discriminator"].optimizer.state.values(),
    ]
    assert {value.dtype for state in states for value in state.values()} == {torch.float32}


def test_statistics_of_batch_norm_are_summed_in_fp32() -> None:
    """In bf16 a sum of 65,536 numbers around 1 would stop at 256."""
    norm = nn.BatchNorm2d(3, momentum=1.0)
    images = (torch.randn(16, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 0.1 + 1).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        norm(images.to(memory_format=torch.channels_last))
    true = images.double()
    assert norm.running_mean is not None
    assert norm.running_var is not None
    torch.testing.assert_close(norm.running_mean.double(), true.mean((0, 2, 3)), rtol=1e-5, atol=0)
    torch.testing.assert_close(norm.running_var.double(), true.var((0, 2, 3)), rtol=1e-3, atol=0)
