"""The step down a loss, by itself: what waits on the device, and losses that are scaled."""

from __future__ import annotations

import copy
import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ganzoo.builtin.gan_trainer import GANTrainer
from ganzoo.builtin.optimizers import AdamConfig
from ganzoo.components.options import OptimizerConfig
from ganzoo.components.schedule import Progress, Schedule, Scheduled
from ganzoo.data.loader import Loader
from ganzoo.errors import PluginError
from ganzoo.registry.plugin_manager import PluginManager
from ganzoo.storage.safe_load import load_tensors
from ganzoo.training import non_finite
from ganzoo.training.build import build_run
from ganzoo.training.optimizer_step import OptimizerStep, load_optimizer, optimizer_state
from ganzoo.training.run import Run


def built_from(tables: dict, parse: Any) -> Run:
    return build_run(parse(tables), PluginManager(), warn=pytest.fail)


def first_weight(trainer: Any) -> Tensor:
    return next(trainer.parts.generator.parameters())


def test_what_waits_on_the_device_does_not_grow_without_end(tables: dict, parse: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(non_finite, "KEPT", 3)
    built = built_from(tables, parse)
    for _ in range(10):
        built.trainer.train_step(built.loader.next())
        assert len(built.trainer.guard._updates) <= 6  # type: ignore[attr-defined]


def test_failure_that_was_looked_at_unasked_is_still_told(tables: dict, parse: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(non_finite, "KEPT", 2)
    built = built_from(tables, parse)
    first_weight(built.trainer).register_hook(lambda gradient: gradient * math.inf if built.step == 2 else None)
    for _ in range(8):
        built.trainer.train_step(built.loader.next())
        built.step += 1
    failure = built.trainer.failure()
    assert failure is not None
    assert failure.step == 3


class RenamedConfig(OptimizerConfig):
    """Calls an option otherwise than torch does."""

    mu: Scheduled[float] = 0.9

    def build(self, parameters: Any) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, lr=float(self.lr), momentum=self.mu)  # type: ignore[arg-type]


def test_a_schedule_that_no_group_can_follow_is_told_before_the_first_step():
    network = nn.Linear(2, 2)
    options = RenamedConfig(name="renamed", mu=Schedule[float](from_=0.5, to=0.9))
    guard = non_finite.NonFiniteGuard(torch.device("cpu"))
    with pytest.raises(PluginError, match=r'"renamed" of the critic cannot follow a schedule of mu: .* Give a number'):
        OptimizerStep("critic", {"critic": network}, options, at=Progress(0, 1, 1), guard=guard)


def scaled(tables: dict, parse: Any) -> tuple[GANTrainer, Loader]:
    """A trainer that scales its losses, as on a GPU in fp16."""
    built = built_from(tables, parse)
    parts = dataclasses.replace(built.trainer.parts, loss_scaling=True)
    return GANTrainer(built.recipe.trainer, parts=parts), built.loader  # type: ignore[arg-type]


def test_overflow_of_a_scaled_gradient_is_the_scalers_business(tables: dict, parse: Any):
    trainer, loader = scaled(tables, parse)
    weight = first_weight(trainer)
    weight.register_hook(lambda gradient: gradient * math.inf if trainer.steps < 2 else None)
    before = weight.clone()
    for _ in range(2):
        trainer.train_step(loader.next())
        assert trainer.expensive_metrics()["gradient_norm/generator"] == 0  # no step was taken
    assert torch.equal(weight, before)
    trainer.train_step(loader.next())
    assert not torch.equal(weight, before)
    assert trainer.expensive_metrics()["gradient_norm/generator"] > 0
    assert trainer.failure() is None
    assert trainer.state_dict()["optimizers"]["generator"]["scaler"]["scale"] == 65536 / 4


def test_a_run_of_another_precision_goes_on_in_fp16(tables: dict, parse: Any):
    before = built_from(tables, parse).trainer
    trainer, loader = scaled(tables, parse)
    trainer.load_state_dict(before.state_dict())
    trainer.train_step(loader.next())
    assert trainer.state_dict()["optimizers"]["generator"]["scaler"]["scale"] == 65536


def test_a_resumed_run_goes_on_with_the_scale_that_it_had_come_to(tables: dict, parse: Any):
    trainer, loader = scaled(tables, parse)
    overflowing = first_weight(trainer).register_hook(lambda gradient: gradient * math.inf)
    trainer.train_step(loader.next())
    overflowing.remove()
    trainer.train_step(loader.next())
    resumed, _ = scaled(tables, parse)
    resumed.load_state_dict(trainer.state_dict())
    scaler = resumed.state_dict()["optimizers"]["generator"]["scaler"]
    assert (scaler["scale"], scaler["_growth_tracker"]) == (65536 / 2, 1)


def test_scale_that_has_fallen_to_1_excuses_nothing(tables: dict, parse: Any):
    trainer, loader = scaled(tables, parse)
    first_weight(trainer).register_hook(lambda gradient: gradient * math.inf)
    for _ in range(30):
        trainer.train_step(loader.next())
    failure = trainer.failure()
    assert failure is not None
    assert failure.step == 17  # 65536 = 2 ** 16
    assert "gradient of generator.blocks.0.0.weight" in failure.what


def test_scaled_loss_that_is_no_number(tables: dict, parse: Any):
    trainer, loader = scaled(tables, parse)
    loss = trainer.parts.loss

    class Turning(type(loss)):  # type: ignore[misc]
        def generator_loss(self, real_logits: Tensor | None, fake_logits: Tensor) -> Tensor:
            value = super().generator_loss(real_logits, fake_logits)
            return value + math.nan if trainer.steps == 2 else value

    trainer.parts = dataclasses.replace(trainer.parts, loss=Turning(loss.config, info=None))
    for _ in range(2):
        trainer.train_step(loader.next())
    before = first_weight(trainer).clone()
    for _ in range(3):
        trainer.train_step(loader.next())
    failure = trainer.failure()
    assert failure is not None
    assert (failure.step, failure.what) == (3, "the loss of the generator (nan) is")
    assert torch.equal(first_weight(trainer), before)


class Shy(torch.optim.SGD):
    """Takes no step down a gradient of zeros, so that it cannot be asked what its state looks like."""

    def step(self, closure: Any = None) -> Any:
        if not any(parameter.grad.any() for parameter in self.param_groups[0]["params"]):
            raise RuntimeError
        return super().step(closure)


class Warned(torch.optim.Adafactor):
    """Keeps from its constructor what its copies lack, as torch's own do, and steps with it (on machines with GPUs)."""

    def __init__(self, params: Any) -> None:
        super().__init__(params)
        self._warned = True

    def step(self, closure: Any = None) -> Any:
        assert self._warned
        return super().step(closure)


OPTIMIZERS = {
    "adam": lambda parameters: torch.optim.Adam(parameters, fused=True),
    "adafactor": torch.optim.Adafactor,
    "warned": Warned,
    "two_groups": lambda parameters: torch.optim.RMSprop(
        [{"params": [p], "lr": 0.1} for p in parameters], momentum=0.5
    ),
    "shy": lambda parameters: Shy(parameters, lr=0.1, momentum=0.5),
}


class Remembering(torch.optim.Optimizer):
    """Keeps a state in every place: the last gradients, a sum that begins late, one state of all, and its options."""

    def __init__(self, parameters: Any, lr: float) -> None:
        super().__init__(parameters, {"lr": lr, "count": 0, "shown": None})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        (group,) = self.param_groups
        group["count"] += 1
        group["shown"] = 1 / group["count"]
        of_all = self.state["all"]
        of_all["sum"] = of_all.get("sum", torch.zeros(())) + 1
        for parameter in group["params"]:
            own = self.state[parameter]
            own["last"] = [*own.get("last", ()), parameter.grad.clone()][-3:]
            if group["count"] > 1:
                own["late"] = own.get("late", 0) + parameter.grad
            step = sum(own["last"]) * group["shown"] + own.get("late", 0)
            parameter.sub_(step * group["lr"] / of_all["sum"])


class RememberingConfig(OptimizerConfig):
    """Of a library, say: its state is where it wants it."""

    def build(self, parameters: Any) -> torch.optim.Optimizer:
        return Remembering(parameters, lr=float(self.lr))  # type: ignore[arg-type]


def steps_of(network: nn.Module, lr: float = 0.1) -> OptimizerStep:
    guard = non_finite.NonFiniteGuard(torch.device("cpu"))
    options = RememberingConfig(name="remembering", lr=lr)
    return OptimizerStep("critic", {"critic": network}, options, at=Progress(0, 20, 1), guard=guard)


def take(steps: OptimizerStep, numbers: range) -> None:
    (network,) = steps.networks.values()
    for number in numbers:
        torch.manual_seed(number)
        loss = network(torch.rand(4, 3)).square().sum()
        steps.step(loss, number=number, rng=torch.get_rng_state())


def test_an_optimizer_goes_on_from_its_state_wherever_it_keeps_it(tmp_path: Path):
    network = nn.Linear(3, 2)
    steps = steps_of(network)
    take(steps, range(4))
    torch.save(steps.state_dict(), tmp_path / "state.pt")
    again = copy.deepcopy(network)
    resumed = steps_of(again)
    resumed.load_state_dict(load_tensors(tmp_path / "state.pt"))
    for each in (steps, resumed):
        take(each, range(4, 8))
    assert torch.equal(again.weight, network.weight)
    assert resumed.optimizer.param_groups[0]["count"] == 8


def test_an_option_of_an_optimizer_that_is_another_one_now_stays_so():
    steps = steps_of(nn.Linear(3, 2))
    take(steps, range(2))
    steps.optimizer.param_groups[0]["lr"] = 0.01  # as a scheduler of its own does
    same, other = steps_of(nn.Linear(3, 2)), steps_of(nn.Linear(3, 2), lr=0.5)
    for each in (same, other):
        each.load_state_dict(steps.state_dict())
    assert [each.optimizer.param_groups[0]["lr"] for each in (same, other)] == [0.01, 0.5]


@pytest.mark.parametrize("value", ["fast", torch.zeros(0), [1]])
def test_an_option_of_an_optimizer_that_is_no_number_is_refused(value: Any):
    steps = steps_of(nn.Linear(3, 2))
    take(steps, range(2))
    state = steps.state_dict()
    state["moved"][0]["count"] = (0, value)
    with pytest.raises(ValueError, match=r"^critic_optimizer: count is "):
        steps_of(nn.Linear(3, 2)).load_state_dict(state)


def stepped(name: str) -> tuple[nn.Module, torch.optim.Optimizer, dict[str, Any]]:
    """A layer, an optimizer that has taken two steps with it, and its state."""
    torch.manual_seed(0)
    network = nn.Conv2d(3, 4, 2).to(memory_format=torch.channels_last)
    optimizer = OPTIMIZERS[name](network.parameters())
    for _ in range(2):
        optimizer.zero_grad()
        network(torch.rand(2, 3, 4, 4)).square().sum().backward()
        optimizer.step()
    return network, optimizer, optimizer_state(optimizer, dict(network.named_parameters()))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_state_of_any_optimizer_is_restored_in_its_own_memory(name: str):
    """Fused kernels read moments in the order of the weights' memory, which is not that of a file."""
    network, optimizer, state = stepped(name)
    before = {parameter: values.copy() for parameter, values in optimizer.state.items()}
    for values in state["state"].values():
        values |= {key: value.contiguous() for key, value in values.items() if isinstance(value, Tensor)}
    again = OPTIMIZERS[name](network.parameters())
    load_optimizer(again, state, dict(network.named_parameters()), "it")
    for parameter in network.parameters():
        for key, value in before[parameter].items():
            assert torch.equal(again.state[parameter][key], value) if isinstance(value, Tensor) else True
            if isinstance(value, Tensor):
                assert again.state[parameter][key].stride() == value.stride()


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("wrong", [torch.zeros(2), torch.zeros(4, 3, 2, 3), [1.0]], ids=["short", "long", "list"])
def test_state_of_another_shape_is_refused_by_any_optimizer(name: str, wrong: Any):
    network, _, state = stepped(name)
    values = state["state"]["weight"]
    values[next(key for key, value in values.items() if isinstance(value, Tensor) and value.ndim)] = wrong
    with pytest.raises(ValueError, match=r"^it: weight\."):
        load_optimizer(OPTIMIZERS[name](network.parameters()), state, dict(network.named_parameters()), "it")


@pytest.mark.parametrize(("lazy", "share"), [((16,), 16 / 17), ((4, 16), 1 / (1 + 1 / 4 + 1 / 16)), ((), 1.0)])
def test_rates_and_betas_are_corrected_for_lazy_regularization(lazy: tuple[int, ...], share: float):
    """By c, the share of updates that are not regularization's (arXiv 1912.04958, appendix B); in a schedule too."""
    falling = Schedule[float](from_=0.002, to=0.001, until="10 steps")
    guard = non_finite.NonFiniteGuard(torch.device("cpu"))
    step = OptimizerStep(
        "critic",
        {"critic": nn.Linear(2, 2)},
        AdamConfig(name="adam", lr=falling, betas=(0.5, 0.99)),
        at=Progress(0, 20, 1),
        guard=guard,
        lazy=lazy,
    )
    (group,) = step.optimizer.param_groups
    assert float(group["lr"]) == pytest.approx(0.002 * share)
    assert group["betas"] == pytest.approx((0.5**share, 0.99**share))
    step.set_scheduled(Progress(5, 20, 1))
    assert float(group["lr"]) == pytest.approx(0.0015 * share)
    assert group["betas"] == pytest.approx((0.5**share, 0.99**share))
