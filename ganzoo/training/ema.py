"""An exponential moving average (EMA) of a network's weights."""

from __future__ import annotations

import copy

import torch
from torch import nn


class EMA:
    """The exponential moving average of the weights and buffers of a network, which starts as a copy of it.

    Torch's `AveragedModel` counts its updates in a tensor, which each update copies to or from the device.

    Args:
        network: whose weights are averaged.
        decay: share of the average that each update keeps, in [0, 1).
        copies_buffers: copy the buffers instead of averaging them.
    """

    def __init__(self, network: nn.Module, decay: float = 0.0, *, copies_buffers: bool = False) -> None:
        self.module = copy.deepcopy(network)
        """The network with the averaged weights."""
        self.updates = 0
        """Updates since the average began; at 0 the next one copies."""
        self.decay = decay
        """Share of the average that the next update keeps."""
        self._copies_buffers = copies_buffers

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Move the average towards the weights of `network`; integer buffers are copied."""
        weights = list(zip(self.module.parameters(), network.parameters(), strict=True))
        buffers = list(zip(self.module.buffers(), network.buffers(), strict=True))
        lerped = [] if not self.updates else weights if self._copies_buffers else weights + buffers
        averaged = [pair for pair in lerped if pair[0].is_floating_point()]
        copied = (weights + buffers)[len(lerped) :] + [pair for pair in lerped if not pair[0].is_floating_point()]
        if averaged:
            averages, towards = map(list, zip(*averaged, strict=True))
            torch._foreach_lerp_(averages, towards, 1 - self.decay)
        for average, value in copied:
            average.copy_(value)
        self.updates += 1


def decay_of_half_life(half_life: float, images: int) -> float:
    """Return the decay of an update after `images` more images for which half of the average goes in `half_life`."""
    return 0.5 ** (images / half_life) if half_life > 0 else 0.0
