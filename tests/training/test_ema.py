"""The averaged weights of a network."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from ganzoo.components.schedule import Progress
from ganzoo.training.ema import EMA


@pytest.mark.parametrize("copies_buffers", [False, True])
def test_an_average_with_spectral_norm_is_normalized(copies_buffers: bool):
    """As torch's estimate does for the trained network: its largest singular value is about 1."""
    torch.manual_seed(0)
    network = spectral_norm(nn.Linear(30, 40))
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    ema = EMA(network, 0.99, copies_buffers=copies_buffers)
    for step in range(100):
        optimizer.zero_grad()
        inputs = torch.randn(64, 30)
        targets = 3 * inputs.roll(step // 10, 1)[:, :20].repeat(1, 2)  # whose directions change
        (network(inputs) - targets).square().mean().mul(20).backward()
        optimizer.step()
        ema.update(network, Progress(step, 100, 64))
    for each in (network.eval(), ema.module.eval()):
        assert torch.linalg.matrix_norm(each.weight, 2).item() == pytest.approx(1, abs=0.02)
