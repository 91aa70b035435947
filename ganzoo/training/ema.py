"""An exponential moving average (EMA) of a network's weights."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from ganzoo.components.schedule import Progress, Scheduled, value_at


class EMA:
    """The exponential moving average of the weights and buffers of a network, which starts as a copy of it.

    Torch's `AveragedModel` counts its updates in a tensor, which each update copies to or from the device.

    Batch norm's statistics start at a variance of 1, which may be a thousand times that of the activations: at a decay
    of 0.999 they would be wrong for thousands of updates. So the average of buffers begins with a shorter memory, of
    about a tenth of the updates so far.

    The singular vectors of spectral norm belong to the weight that they were estimated on, so those of the average are
    its own: a power iteration on it follows each update.

    Args:
        network: whose weights are averaged.
        decay: share of the average that each update keeps, in [0, 1).
        half_life: number of images after which old weights count for half, in place of `decay`.
        ramp: the half-life is at most this many times the images seen.
        start: step until which the average is a copy.
        copies_buffers: copy the buffers instead of averaging them.
    """

    def __init__(
        self,
        network: nn.Module,
        decay: float = 0.0,
        *,
        half_life: Scheduled[float] | None = None,
        ramp: float = 0.0,
        start: int = 0,
        copies_buffers: bool = False,
    ) -> None:
        self.module = copy.deepcopy(network)
        """The network with the averaged weights."""
        self.updates = 0
        """Updates since the average began; at 0 the next one copies."""
        self._decay, self._half_life, self._ramp, self._start = decay, half_life, ramp, start
        self._copies_buffers = copies_buffers
        self._parametrized = [
            (module, found)
            for module in self.module.modules()
            if is_parametrized(module) and isinstance(found := module.parametrizations, nn.ModuleDict)
            if all(each.training for each in found.modules())  # the others are frozen, and copied
        ]
        iterated = {id(buffer) for _, found in self._parametrized for buffer in found.buffers()}
        self._own = [id(buffer) in iterated for buffer in self.module.buffers()]

    def decay(self, at: Progress) -> float:
        """Return the share of the average that the update of a step keeps."""
        if self._half_life is None:
            return self._decay
        half_life = value_at(self._half_life, at)
        if self._ramp:
            half_life = min(half_life, at.images_seen * self._ramp)
        return float(0.5 ** (at.images_per_step / half_life)) if half_life > 0 else 0.0

    @torch.no_grad()
    def update(self, network: nn.Module, at: Progress) -> None:
        """Move the average towards the weights of `network`; integer buffers are copied, and everything until
        `start`."""
        if at.step < self._start:
            self.updates = 0
        weights = list(zip(self.module.parameters(), network.parameters(), strict=True))
        buffers = list(zip(self.module.buffers(), network.buffers(), strict=True))
        if self.updates:
            buffers = [pair for pair, own in zip(buffers, self._own, strict=True) if not own]
        decay = self.decay(at) if self.updates else 0.0
        of_buffers = 0.0 if self._copies_buffers else min(decay, (1 + self.updates) / (10 + self.updates))
        for pairs, kept in ((weights, decay), (buffers, of_buffers)):
            averaged = [pair for pair in pairs if kept and pair[0].is_floating_point()]
            copied = [pair for pair in pairs if not (kept and pair[0].is_floating_point())]
            if averaged:
                averages, towards = map(list, zip(*averaged, strict=True))
                torch._foreach_lerp_(averages, towards, 1 - kept)
            for average, value in copied:
                average.copy_(value)
        for module, parametrizations in self._parametrized if self.updates else ():
            was_training = parametrizations.training
            parametrizations.train()
            for name in parametrizations:
                getattr(module, name)  # computes it, with one power iteration while training
            parametrizations.train(was_training)
        self.updates += 1
