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


def test_the_first_statistics_of_batch_norm_do_not_stay_in_the_average():
    """Batch norm starts at a variance of 1; activations of small weights have a thousandth of it."""
    network = nn.BatchNorm1d(3)
    ema = EMA(network, 0.999)
    for step in range(200):
        network(0.03 * torch.randn(64, 3))
        ema.update(network, Progress(step, 200, 64))
    torch.testing.assert_close(ema.module.running_var, torch.full((3,), 0.03**2), rtol=0.1, atol=0)


def test_after_many_updates_statistics_are_averaged_as_weights_are():
    network = nn.BatchNorm1d(1)
    ema = EMA(network, 0.9)
    ema.updates = 1000
    network.weight.data.fill_(3.0)
    network.running_mean.fill_(2.0)
    ema.update(network, Progress(1000, 2000, 64))
    assert ema.module.weight.item() == pytest.approx(1 + 0.1 * 2)
    assert ema.module.running_mean.item() == pytest.approx(0.1 * 2)


def test_the_average_of_a_frozen_layer_with_spectral_norm_is_the_layer():
    torch.manual_seed(0)
    network = nn.Sequential(spectral_norm(nn.Linear(30, 40)), spectral_norm(nn.Linear(40, 20)))
    for parametrization in network[0].parametrizations.weight:
        parametrization.eval()
    network[0].requires_grad_(False)
    average = EMA(network, 0.9)
    for step in range(100):
        with torch.no_grad():
            network[1].parametrizations.weight.original.add_(torch.randn(20, 40))
        average.update(network, Progress(step, 100, 8))
    frozen, moving = (torch.dist(average.module[index].weight, network[index].weight) for index in range(2))
    assert (frozen.item(), moving.item() > 0) == (0.0, True)
