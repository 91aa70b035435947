"""Conformance check of optimizers: they descend, skip what is not finite where they say so, and resume to the bit."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ganzoo.components.options import OptimizerConfig
from ganzoo.registry.registry import Entry
from ganzoo.testing.fixtures import generator_of_seed, require, small_options
from ganzoo.training.optimizer_step import load_optimizer, optimizer_state, skips_non_finite


def check_optimizer(entry: Entry[Any], **options: Any) -> None:
    """Check that it lowers a loss, goes on from a saved state to the bit, and takes no step where `found_inf` is 1.

    Raises:
        ConformanceError: with what to change.
    """
    config: OptimizerConfig = small_options(entry, options)
    network, optimizer = _built(config)
    require(isinstance(optimizer, Optimizer), "build must give a torch.optim.Optimizer")
    rates = {float(group["lr"]) for group in optimizer.param_groups}
    require(rates == {config.lr}, "every group must begin with the rate `lr`, by which trainers set it")
    before = _loss(network).item()
    for _ in range(10):
        _step(network, optimizer)
    require(_loss(network).item() < before, "ten steps do not lower the loss of a regression")
    again, resumed = _built(config)
    again.load_state_dict(network.state_dict())
    saved = optimizer_state(optimizer, dict(network.named_parameters()))
    load_optimizer(resumed, copy.deepcopy(saved), dict(again.named_parameters()), "optimizer")
    for each in ((network, optimizer), (again, resumed)):
        _step(*each)
    require(_same(network, again), "goes on differently from a saved state: keep all of it in `self.state`")
    if skips_non_finite(optimizer):
        resumed.found_inf = torch.ones(())  # type: ignore[attr-defined]
        _step(again, resumed, torch.nan)
        state = (value for values in resumed.state.values() for value in values.values() if isinstance(value, Tensor))
        kept = _same(network, again) and all(value.isfinite().all() for value in state)
        require(kept, "takes a step where found_inf is 1, though _step_supports_amp_scaling is set")


def _built(config: OptimizerConfig) -> tuple[nn.Module, Optimizer]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 1))
    network.to(memory_format=torch.channels_last)
    return network, config.build(network.parameters())


def _loss(network: nn.Module) -> Tensor:
    images = torch.randn(16, 2, 4, 4, generator=generator_of_seed(1))
    predicted: Tensor = network(images).flatten()
    return (predicted - images.mean((1, 2, 3)) - 1).square().mean()


def _step(network: nn.Module, optimizer: Optimizer, factor: float = 1.0) -> None:
    optimizer.zero_grad()
    (_loss(network) * factor).backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def _same(one: nn.Module, other: nn.Module) -> bool:
    return all(map(torch.equal, one.parameters(), other.parameters()))
