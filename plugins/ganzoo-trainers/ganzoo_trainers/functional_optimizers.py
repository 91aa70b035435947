"""Differentiable optimizers: steps as functions of weights and gradients."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.optim import Optimizer

from ganzoo.plugin import AdamConfig

TINY = 1e-30
"""Added under the root of the second moment, whose derivative at 0 would be infinite; far below any `eps`."""


class Steps(Protocol):
    """A sequence of optimizer steps from given weights; an object serves one sequence."""

    def step(self, weights: Sequence[Tensor], gradients: Sequence[Tensor | None]) -> list[Tensor]:
        """Return the weights after one more step; weights without a gradient stay."""


class GradientSteps:
    """θ − η g."""

    def __init__(self, lr: float) -> None:
        self.lr = lr

    def step(self, weights: Sequence[Tensor], gradients: Sequence[Tensor | None]) -> list[Tensor]:
        """Return the weights after one step of gradient descent."""
        pairs = zip(weights, gradients, strict=True)
        return [weight if gradient is None else weight - self.lr * gradient for weight, gradient in pairs]


class AdamSteps:
    """Adam (arXiv 1412.6980, algorithm 1) from the moments of an optimizer, which is left unchanged.

    Args:
        options: of the optimizer; its weight decay is coupled, as torch's Adam has it.
        lr: the learning rate, α of the paper.
        optimizer: whose moments are the start.
        parameters: those that the weights stand for, in their order.
    """

    def __init__(self, options: AdamConfig, lr: float, optimizer: Optimizer, parameters: Sequence[Tensor]) -> None:
        self.options = options
        self.betas: tuple[float, float] = optimizer.param_groups[0]["betas"]  # as they are at this step
        self.lr = lr
        states: list[Mapping[str, Tensor]] = [optimizer.state.get(parameter, {}) for parameter in parameters]
        steps = [state["step"].float() for state in states if state]
        # Stays on the device, since reading it would synchronize at each step.
        self.taken = torch.stack(steps).max() if steps else torch.zeros((), device=parameters[0].device)
        self.moments: list[tuple[Tensor, Tensor] | None] = [
            (state["exp_avg"].clone(), state["exp_avg_sq"].clone()) if state else None for state in states
        ]

    def step(self, weights: Sequence[Tensor], gradients: Sequence[Tensor | None]) -> list[Tensor]:
        """Return the weights after one step of Adam."""
        (decay, decay_of_squares), self.taken = self.betas, self.taken + 1
        bias, bias_of_squares = _one_minus_power(decay, self.taken), _one_minus_power(decay_of_squares, self.taken)
        moved = list(weights)
        for i, (weight, gradient) in enumerate(zip(weights, gradients, strict=True)):
            if gradient is None:
                continue
            gradient = gradient + self.options.weight_decay * weight
            mean, square = self.moments[i] or (gradient.detach() * 0, gradient.detach() * 0)
            mean = decay * mean + (1 - decay) * gradient
            square = decay_of_squares * square + (1 - decay_of_squares) * gradient.square()
            self.moments[i] = mean, square
            root = (square / bias_of_squares + TINY).sqrt()
            moved[i] = weight - self.lr / bias * mean / (root + self.options.eps)
        return moved


def _one_minus_power(base: float, exponent: Tensor) -> Tensor:
    """Return 1 − base ** exponent, to all digits of fp32 where the base is close to 1."""
    return -torch.expm1(exponent * math.log(base)) if base else torch.ones_like(exponent)
