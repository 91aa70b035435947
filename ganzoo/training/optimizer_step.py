"""One network's way down its loss: scaled, clipped, and halted before a step that is not finite."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ganzoo.components.world import World
from ganzoo.runtime.cpu_fused_optimizer import ChannelsLastUpdates
from ganzoo.training.non_finite import NonFiniteGuard, Update


class OptimizerStep:
    """Takes steps of one optimizer.

    Args:
        name: of the network.
        network: whose gradient is clipped.
        owned: parameters of others that this optimizer moves too, by name.
        optimizer: over all of them.
        alarm: shared with the other network.
        clip: largest norm of the network's gradient.
        scaling: scale the loss, as fp16 needs it.
        world: that take the same step, each down the gradient of its part of the minibatch.
    """

    def __init__(
        self,
        name: str,
        network: nn.Module,
        optimizer: Optimizer,
        alarm: NonFiniteGuard,
        *,
        owned: Mapping[str, Tensor] | None = None,
        clip: float | None = None,
        scaling: bool = False,
        world: World | None = None,
    ) -> None:
        self.name = name
        self.network = network
        self.optimizer = optimizer
        self.scaler = torch.amp.GradScaler(alarm.raised.device.type, enabled=scaling)
        self._alarm = alarm
        self._clip = clip
        self._world = world or World()
        named = {f"{name}.{key}": parameter for key, parameter in network.named_parameters()}
        self._parameters: dict[str, Tensor] = named | dict(owned or {})
        self._owned = len(owned or {})
        self._norms: Tensor | None = None
        self._before: list[Tensor] | None = None

    def step(self, loss: Tensor, *, number: int, rng: Tensor) -> None:
        """One step down the gradient of `loss`, or none, for good, once the alarm is raised.

        Args:
            loss: what to minimize.
            number: of the training step.
            rng: the state of the run's random numbers at its beginning.
        """
        self.optimizer.zero_grad(set_to_none=True)
        if self.scaler.is_enabled():  # the scaler takes no step where the gradient is NaN
            loss = loss * torch.where(loss.isfinite() & (self._alarm.raised == 0), 1.0, math.nan)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        loss = loss.detach()
        # With the loss, so that all processes raise the alarm, or none does.
        self._world.all_reduce_mean_([loss, *(p.grad for p in self._parameters.values() if p.grad is not None)])
        if self._clip is not None or self.scaler.is_enabled():
            self.scaler.unscale_(self.optimizer)
        self._norms = self._norm_of_each(loss.dtype)
        parameters = list(self._parameters)
        self._alarm.watch(Update(self.name, number, rng, parameters, self._figures(loss, self._norms)))
        if self._clip is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), self._clip)
        self._move()

    def gradient_norm(self) -> Tensor:
        """Norm of the network's gradient in the last update, before it was clipped, still on the device.

        0 where the gradient overflowed in fp16, and the scaler took no step.
        """
        assert self._norms is not None, "no step has been taken"
        norm = torch.linalg.vector_norm(self._norms[: len(self._norms) - self._owned])
        return torch.where(norm.isfinite(), norm, 0.0) if self.scaler.is_enabled() else norm

    def _norm_of_each(self, dtype: torch.dtype) -> Tensor:
        """The norm of each parameter's gradient, 0 where there is none."""
        gradients = [parameter.grad for parameter in self._parameters.values()]
        present = [gradient for gradient in gradients if gradient is not None]
        norms = iter(torch._foreach_norm(present) if present else ())
        none = torch.zeros((), dtype=dtype, device=self._alarm.raised.device)
        return torch.stack([none if gradient is None else next(norms).to(dtype) for gradient in gradients])

    def _figures(self, loss: Tensor, norms: Tensor) -> Tensor:
        """What tells whether an update is finite: the loss and the norms."""
        if self.scaler.is_enabled():  # it looks for a scale under which nothing overflows; 1 is no scale
            norms = torch.where(self.scaler.scale(torch.ones_like(loss)) > 1, torch.zeros_like(norms), norms)
        return torch.cat([loss[None], norms])

    def _move(self) -> None:
        """Let the optimizer move the parameters unless the alarm is raised, whichever optimizer it is."""
        if self.scaler.is_enabled():
            self.scaler.step(self.optimizer)
            self.scaler.update()
        elif looks_for_infinities(self.optimizer):
            self.optimizer.found_inf = self._alarm.raised  # type: ignore[attr-defined]
            with ChannelsLastUpdates() if self._alarm.raised.device.type == "cpu" else nullcontext():
                self.optimizer.step()
        else:
            self._move_and_take_back()

    @torch.no_grad()
    def _move_and_take_back(self) -> None:
        parameters = list(self._parameters.values())
        if self._before is None:
            self._before = [torch.empty_like(parameter) for parameter in parameters]
        torch._foreach_copy_(self._before, parameters)
        self.optimizer.step()
        fine = self._alarm.raised == 0
        for parameter, before in zip(parameters, self._before, strict=True):
            torch.where(fine, parameter, before, out=parameter)


def looks_for_infinities(optimizer: Optimizer) -> bool:
    """Whether an optimizer takes no step by itself where `found_inf` says so, as torch's fused ones do."""
    return bool(getattr(optimizer, "_step_supports_amp_scaling", False))


def load_optimizer(optimizer: Optimizer, state: dict[str, Any], name: str) -> None:
    """Give an optimizer back what it remembers; its options stay those it was built with.

    Raises:
        ValueError: the state is another optimizer's.
    """
    options = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
    for now, before in zip(options, state["param_groups"], strict=True):
        kept = {key for key in _DECIDE_WHAT_IS_REMEMBERED if bool(now.get(key)) != bool(before.get(key))}
        if now.keys() != before.keys() - {"params"} or kept:
            raise ValueError(f"{name} is another one now, with nothing to go on from: leave it as it was")
    optimizer.load_state_dict(state)
    for group, own in zip(optimizer.param_groups, options, strict=True):
        group.update(own)


_DECIDE_WHAT_IS_REMEMBERED = ("amsgrad", "centered", "momentum")
