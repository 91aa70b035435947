"""The host waits for the device at log points only: in between, no value of a tensor is looked at.

On a GPU each look stops the queue of work. Whatever looks at a value goes through one of a few operations, on a CPU
too, where they can be counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from ganzoo.observers.standard import standard_observers
from ganzoo.registry.hookspecs import hookimpl
from ganzoo.registry.plugin_manager import PluginManager
from ganzoo.training.build import build_run
from ganzoo.training.loop import train
from ganzoo.training.run import Run

LOOKS = {
    torch.ops.aten._local_scalar_dense,
    torch.ops.aten.is_nonzero,
    torch.ops.aten.equal,
    torch.ops.aten.nonzero,
    torch.ops.aten.masked_select,
    torch.ops.aten._unique2,
}
METHODS = {Tensor.item, Tensor.tolist, Tensor.numpy, Tensor.cpu, Tensor.__bool__, Tensor.__float__, Tensor.__int__}


class Operations(TorchDispatchMode):
    """Counts operations that need a value on the host."""

    def __init__(self, count: Callable[[str], None]) -> None:
        super().__init__()
        self.count = count

    def __torch_dispatch__(self, func: Any, types: Sequence[type], args: Any = (), kwargs: Any = None) -> Any:
        if func._overloadpacket in LOOKS:
            self.count(str(func))
        return func(*args, **(kwargs or {}))


class Methods(TorchFunctionMode):
    """Counts methods of tensors that bring values to the host without an operation."""

    def __init__(self, count: Callable[[str], None]) -> None:
        super().__init__()
        self.count = count

    def __torch_function__(self, func: Any, types: Sequence[type], args: Any = (), kwargs: Any = None) -> Any:
        if func in METHODS:
            self.count(func.__name__)
        return func(*args, **(kwargs or {}))


class Looks:
    """An observer: which looks were there in each step."""

    def __init__(self) -> None:
        self.at_step: dict[int, Counter[str]] = {}
        self._now: Counter[str] = Counter()

    def count(self, name: str) -> None:
        self._now[name] += 1

    @hookimpl(trylast=True)
    def step_ended(self, step: int) -> None:
        self.at_step[step], self._now = self._now, Counter()


def looks(run: Run) -> dict[int, Counter[str]]:
    seen = Looks()
    run.events.register_standard(standard_observers(run))
    run.events.register(seen)
    with Operations(seen.count), Methods(seen.count):
        train(run)
    return seen.at_step


R3GAN = {
    "generator": {"name": "r3gan", "width": 8, "conditional": True},
    "discriminator": {"name": "r3gan", "width": 8, "conditional": True},
    "loss": {"name": "relativistic_pairing"},
    "penalties": [
        {"name": "r1", "weight": {"from": 1.0, "to": 0.1, "shape": "cosine"}},
        {"name": "r2", "weight": {"from": 1.0, "to": 0.1, "shape": "cosine"}},
        {"name": "diff_augment", "probability": {"from": 0.0, "to": 0.5}},
    ],
}
PENALTIES = [{"name": "r1", "interval": 2}, {"name": "gradient_penalty"}, {"name": "diff_augment"}]

STYLEGAN2 = {
    "generator": {"name": "stylegan2", "latent_dim": 8, "style_dim": 8, "channel_base": 64, "max_channels": 8},
    "discriminator": {"name": "stylegan2", "channel_base": 64, "max_channels": 8},
    "penalties": [
        {"name": "r1", "interval": 4, "own_update": True},
        {"name": "path_length", "interval": 2},
        {"name": "ada", "target": -1.0},
    ],
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "overrides"),
    [
        ({}, []),
        ({}, ["device.precision=bf16", "trainer.ema_decay=0.9", "trainer.generator_grad_clip=1.0"]),
        ({}, ["trainer.schedule=alternate_minibatches", "trainer.discriminator_steps=2"]),
        # Without mirroring: on a CPU it counts the images to turn, on a GPU it turns all and waits for no number.
        ({"penalties": PENALTIES}, ["discriminator.norm=none"]),
        ({"loss": {"name": "hinge"}}, ["trainer.generator_optimizer.name=rmsprop"]),
        ({}, ["trainer.name=unrolled", "trainer.unrolled_steps=2"]),
        ({}, ["trainer.name=pacgan"]),
        (R3GAN, ["trainer.schedule=alternate_minibatches", "trainer.ema_half_life={from=0,to=100}"]),
        (STYLEGAN2, ["trainer.fake_batch=fresh", "trainer.ema_half_life=500", "trainer.ema_ramp=0.05"]),
    ],
    ids=[
        "plain",
        "bf16, average and clipping",
        "alternate",
        "penalties",
        "an optimizer that is not fused",
        "unrolled",
        "pacgan",
        "r3gan",
        "stylegan2",
    ],
)
def test_no_value_is_looked_at_between_log_points(
    changes: dict[str, Any], overrides: list[str], tables: dict[str, Any], parse: Any, manager: PluginManager
) -> None:
    recipe = parse({**tables, **changes}, "run.steps=8", "run.log_every=4", "checkpoint.every=100", *overrides)
    found = looks(build_run(recipe, manager, warn=print))
    assert {step: dict(found[step]) for step in (2, 3, 5, 6, 7)} == {step: {} for step in (2, 3, 5, 6, 7)}
    assert found[4], "a log point is where values are looked at"
    assert found[8]
