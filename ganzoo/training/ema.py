"""An exponential moving average (EMA) of a network's weights."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


class EMA:
    """The exponential moving average of the weights and buffers of `network`, which starts as a copy of it.

    Torch's `AveragedModel` counts its updates in a tensor, which each update copies to or from the device.

    Args:
        network: whose weights are averaged.
        decay: share of the average that each update keeps, in [0, 1).
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.module = copy.deepcopy(network)
        """The network with the averaged weights."""
        self.updates = 0
        """Updates since the average began; at 0 the next one copies."""
        self._decay = decay

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Move the average towards the weights of `network`; integer buffers are copied."""
        pairs = list(zip(_tensors(self.module), _tensors(network), strict=True))
        averaged = [pair for pair in pairs if self.updates and pair[0].is_floating_point()]
        copied = [pair for pair in pairs if not (self.updates and pair[0].is_floating_point())]
        if averaged:
            averages, weights = map(list, zip(*averaged, strict=True))
            torch._foreach_lerp_(averages, weights, 1 - self._decay)
        for average, weight in copied:
            average.copy_(weight)
        self.updates += 1


def _tensors(network: nn.Module) -> list[Tensor]:
    return [*network.parameters(), *network.buffers()]
