"""The optimizer Lion."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


class Lion(Optimizer):
    """Chen et al. 2023 (arXiv 2302.06675, algorithm 2).

    Args:
        parameters: to update.
        lr: what each weight moves by.
        betas: shares of the momentum in a step, and of what is kept of it.
        weight_decay: decoupled from the gradient.
    """

    _step_supports_amp_scaling = True

    def __init__(
        self, parameters: Iterable[Tensor], lr: float, betas: tuple[float, float], weight_decay: float = 0.0
    ) -> None:
        super().__init__(parameters, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Take a step, unless the tensor `found_inf` is 1; without waiting for the device."""
        found_inf: Tensor = getattr(self, "found_inf", torch.zeros(()))
        scale: Tensor | None = getattr(self, "grad_scale", None)
        for group in self.param_groups:
            (in_step, kept), lr = group["betas"], group["lr"]
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                gradient = weight.grad if scale is None else weight.grad / scale
                momentum = self.state[weight].setdefault("momentum", torch.zeros_like(weight))
                moved = weight * (1 - lr * group["weight_decay"]) - lr * torch.lerp(gradient, momentum, in_step).sign()
                finite = found_inf.to(weight.device) == 0
                weight.copy_(torch.where(finite, moved, weight))
                momentum.copy_(torch.where(finite, torch.lerp(gradient, momentum, kept), momentum))
