"""Fused optimizers on a CPU: channels-last weights move as others do, and no gradient is copied on the way."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.profiler import ProfilerActivity, profile

from ganzoo.runtime.cpu_kernels import ChannelsLastUpdates

SHAPE = (6, 5, 4, 3)
OPTIMIZERS = {
    "adam": lambda weights, **options: Adam(weights, lr=0.1, **options),
    "amsgrad": lambda weights, **options: Adam(weights, lr=0.1, amsgrad=True, **options),
    "adamw": lambda weights, **options: AdamW(weights, lr=0.1, **options),
    "sgd": lambda weights, **options: SGD(weights, lr=0.1, momentum=0.9, **options),
}


def moved(make: Callable[..., Optimizer], memory: torch.memory_format, of_gradients: torch.memory_format) -> Tensor:
    """A weight after three fused steps."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(SHAPE, generator=generator).to(memory_format=memory).requires_grad_()
    optimizer = make([weight, torch.zeros(3, requires_grad=True)], fused=True)
    for _ in range(3):
        weight.grad = torch.randn(SHAPE, generator=generator).to(memory_format=of_gradients)
        with ChannelsLastUpdates():
            optimizer.step()
    return weight.detach()


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("of_gradients", [torch.channels_last, torch.contiguous_format])
def test_weights_move_the_same_way_in_any_order_in_memory(name: str, of_gradients: torch.memory_format):
    plain = moved(OPTIMIZERS[name], torch.contiguous_format, torch.contiguous_format)
    ours = moved(OPTIMIZERS[name], torch.channels_last, of_gradients)
    assert ours.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(ours, plain, atol=1e-6)


def test_no_gradient_is_copied():
    weight = torch.randn(SHAPE).to(memory_format=torch.channels_last).requires_grad_()
    weight.grad = torch.ones_like(weight)
    optimizer = Adam([weight], fused=True)
    optimizer.step()
    with ChannelsLastUpdates(), profile(activities=[ProfilerActivity.CPU], record_shapes=True) as profiler:
        optimizer.step()
    copies = [event for event in profiler.events() if event.name == "aten::copy_" and len(event.input_shapes[0]) == 4]
    assert not copies
