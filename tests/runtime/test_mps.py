"""Apple's GPUs have no float64: nothing that trains or samples may make such a tensor on the device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ganzoo.registry.plugin_manager import PluginManager
from ganzoo.sampling.generate import generate
from ganzoo.training.build import build_run


class Doubles(TorchDispatchMode):
    """Names the operations that made a tensor of float64 or took one."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Sequence[type], args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if any(isinstance(leaf, Tensor) and leaf.dtype is torch.float64 for leaf in tree_leaves((args, result))):
            self.found.add(str(func))
        return result


PENALTIES = (
    "r1",
    "gradient_penalty",
    "dragan",
    "diff_augment",
    "adaptive_augment",
    "instance_noise",
    "weight_clipping",
)


@pytest.mark.parametrize(
    "overrides",
    [
        ["trainer.ema_decay=0.9", "trainer.generator_grad_clip=1.0", "dataset.horizontal_flip=true"],
        ["trainer.schedule=alternate_minibatches", "trainer.generator_optimizer.name=radam", "device.precision=bf16"],
        ["trainer.name=unrolled", "trainer.unrolled_steps=2"],
    ],
    ids=["average and clipping", "alternate in bf16", "unrolled"],
)
@pytest.mark.parametrize("penalties", [(), PENALTIES], ids=["plain", "penalties"])
def test_training_makes_no_float64(
    overrides: list[str],
    penalties: tuple[str, ...],
    tables: dict[str, Any],
    parse: Callable[..., Any],
    manager: PluginManager,
) -> None:
    if penalties and "trainer.name=unrolled" in overrides:
        pytest.skip("clipping changes weights that the look ahead has in use")
    tables["penalties"] = [{"name": name} for name in penalties]
    run = build_run(parse(tables, "discriminator.norm=none", *overrides), manager, warn=print)
    with Doubles() as doubles:
        for _ in range(2):
            run.trainer.train_step(run.loader.next())
            run.trainer.expensive_metrics()
        run.trainer.failure()
        generate(run.trainer.parts.generator, torch.zeros(2, 8), batch_norm="running")
    assert doubles.found == set()
