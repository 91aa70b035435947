"""Take optimizer steps: scale the loss, average and clip the gradients, and skip steps that are not finite."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ganzoo.components.world import World
from ganzoo.runtime.cpu_kernels import ChannelsLastUpdates
from ganzoo.training.non_finite import NonFiniteGuard, Update


class OptimizerStep:
    """Takes the steps of one optimizer.

    Args:
        name: of the network, or of those that it moves together.
        networks: by name, whose gradient is clipped.
        optimizer: over the networks' parameters and `others`.
        guard: shared by the optimizers of a run.
        others: further parameters that this optimizer updates, by name.
        clip: largest norm of the gradient of all networks; None: no clipping.
        scaling: whether to scale the loss, as fp16 needs it.
        world: the processes that take the same step, each with the gradient of its part of the minibatch.
    """

    def __init__(
        self,
        name: str,
        networks: Mapping[str, nn.Module],
        optimizer: Optimizer,
        *,
        guard: NonFiniteGuard,
        others: Mapping[str, Tensor] | None = None,
        clip: float | None = None,
        scaling: bool = False,
        world: World | None = None,
    ) -> None:
        self.name = name
        self.networks = nn.ModuleDict(networks)
        self.optimizer = optimizer
        self.scaler = torch.amp.GradScaler(guard.found_inf.device.type, enabled=scaling)
        self._guard = guard
        self._clip = clip
        self._world = world or World()
        self._parameters: dict[str, Tensor] = {**dict(self.networks.named_parameters()), **(others or {})}
        self._others = len(others or {})
        self._norms: Tensor | None = None
        self._before: list[Tensor] | None = None

    def step(self, loss: Tensor, *, number: int, rng: Tensor) -> None:
        """Take a step that decreases `loss`; none is taken once an update was not finite.

        Args:
            loss: what to minimize.
            number: the training step's.
            rng: the state of the run's random numbers at the beginning of that step.
        """
        self.optimizer.zero_grad(set_to_none=True)
        if self.scaler.is_enabled():  # the scaler takes no step where the gradient is NaN
            loss = loss * torch.where(loss.isfinite() & (self._guard.found_inf == 0), 1.0, math.nan)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        loss = loss.detach()
        # The loss is averaged too, so that all processes find it finite, or none does.
        self._world.all_reduce_mean_([loss, *(p.grad for p in self._parameters.values() if p.grad is not None)])
        if self._clip is not None or self.scaler.is_enabled():
            self.scaler.unscale_(self.optimizer)
        self._norms = self._norm_of_each(loss.dtype)
        parameters = list(self._parameters)
        self._guard.check(Update(self.name, number, rng, parameters, self._loss_and_norms(loss, self._norms)))
        if self._clip is not None:
            nn.utils.clip_grad_norm_(self.networks.parameters(), self._clip)
        self._move()

    def gradient_norm(self) -> Tensor:
        """Return the norm of the networks' gradient in the last update, before clipping, still on the device.

        0 where the gradient overflowed in fp16, and the scaler took no step.
        """
        assert self._norms is not None, "no step has been taken"
        norm = torch.linalg.vector_norm(self._norms[: len(self._norms) - self._others])
        return torch.where(norm.isfinite(), norm, 0.0) if self.scaler.is_enabled() else norm

    def _norm_of_each(self, dtype: torch.dtype) -> Tensor:
        """Return the norm of each parameter's gradient, 0 where there is none."""
        gradients = [parameter.grad for parameter in self._parameters.values()]
        present = [gradient for gradient in gradients if gradient is not None]
        norms = iter(torch._foreach_norm(present) if present else ())
        none = torch.zeros((), dtype=dtype, device=self._guard.found_inf.device)
        return torch.stack([none if gradient is None else next(norms).to(dtype) for gradient in gradients])

    def _loss_and_norms(self, loss: Tensor, norms: Tensor) -> Tensor:
        """Return the loss and norms to check; norms count as 0 while the scaler can still lower its scale."""
        if self.scaler.is_enabled():
            norms = torch.where(self.scaler.scale(torch.ones_like(loss)) > 1, torch.zeros_like(norms), norms)
        return torch.cat([loss[None], norms])

    def _move(self) -> None:
        """Take the optimizer's step unless an update was not finite."""
        if self.scaler.is_enabled():
            self.scaler.step(self.optimizer)
            self.scaler.update()
        elif skips_non_finite(self.optimizer):
            self.optimizer.found_inf = self._guard.found_inf  # type: ignore[attr-defined]
            with ChannelsLastUpdates() if self._guard.found_inf.device.type == "cpu" else nullcontext():
                self.optimizer.step()
        else:
            self._move_and_undo()

    @torch.no_grad()
    def _move_and_undo(self) -> None:
        parameters = list(self._parameters.values())
        if self._before is None:
            self._before = [torch.empty_like(parameter) for parameter in parameters]
        torch._foreach_copy_(self._before, parameters)
        self.optimizer.step()
        finite = self._guard.found_inf == 0
        for parameter, before in zip(parameters, self._before, strict=True):
            torch.where(finite, parameter, before, out=parameter)


def skips_non_finite(optimizer: Optimizer) -> bool:
    """Return whether an optimizer takes no step where its `found_inf` is 1, as torch's fused ones do."""
    return bool(getattr(optimizer, "_step_supports_amp_scaling", False))


def current_lr(optimizer: Optimizer) -> float:
    """Return the current learning rate of an optimizer's first group."""
    return float(optimizer.param_groups[0]["lr"])


def load_optimizer(optimizer: Optimizer, state: dict[str, Any], name: str) -> None:
    """Restore the state of an optimizer; its options stay those it was built with.

    Raises:
        ValueError: the state is of another optimizer.
    """
    options = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
    for now, before in zip(options, state["param_groups"], strict=True):
        kept = {key for key in _OPTIONS_THAT_SHAPE_STATE if bool(now.get(key)) != bool(before.get(key))}
        if now.keys() != before.keys() - {"params"} or kept:
            raise ValueError(f"{name} is another one now, with nothing to go on from: leave it as it was")
    optimizer.load_state_dict(state)
    for group, own in zip(optimizer.param_groups, options, strict=True):
        group.update(own)


_OPTIONS_THAT_SHAPE_STATE = ("amsgrad", "centered", "momentum")


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Keep the parameters of `module` from accumulating gradients, which still flow through it."""
    trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for parameter in trainable:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)
