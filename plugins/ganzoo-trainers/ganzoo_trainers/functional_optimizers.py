"""Differentiable optimizers: steps as functions of weights and gradients."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.optim import Optimizer

from ganzoo.plugin import AdamConfig

TINY = 1e-30
"""Added under roots of squares, whose derivative at 0 would be infinite; far below any `eps`."""


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
            if self.options.weight_decay:
                gradient = gradient + self.options.weight_decay * weight
            mean, square = self.moments[i] or (torch.zeros_like(gradient), torch.zeros_like(gradient))
            moved[i], mean, square = _AdamStep.apply(
                weight, gradient, mean, square, self.betas, self.lr / bias, bias_of_squares, self.options.eps
            )
            self.moments[i] = mean, square
        return moved


class _AdamStep(torch.autograd.Function):
    """A step of Adam for one weight, with the gradient of its result and of its moments.

    Written in torch's operations it is as many passes over memory, and as many tensors kept for the gradient, as it
    has symbols; here it keeps three. Differentiable once, as no objective takes the gradient of the unrolled one.
    """

    @staticmethod
    def forward(
        ctx: Any,
        weight: Tensor,
        gradient: Tensor,
        mean: Tensor,
        square: Tensor,
        betas: tuple[float, float],
        rate: Tensor,
        bias_of_squares: Tensor,
        eps: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the weight after the step and its moments; `rate` is α over the first moment's bias."""
        decay, decay_of_squares = betas
        mean = (decay * mean).add_(gradient, alpha=1 - decay)
        square = (decay_of_squares * square).addcmul_(gradient, gradient, value=1 - decay_of_squares)
        root = (square / bias_of_squares).add_(TINY).sqrt_()
        ctx.save_for_backward(gradient, mean, root, rate, bias_of_squares)
        ctx.betas, ctx.eps = betas, eps
        return (root + eps).reciprocal_().mul_(mean).mul_(-rate).add_(weight), mean, square

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_weight: Tensor, of_mean: Tensor, of_square: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of the weight, of its gradient and of both moments before the step."""
        gradient, mean, root, rate, bias_of_squares = ctx.saved_tensors
        decay, decay_of_squares = ctx.betas
        inverse = (root + ctx.eps).reciprocal_()
        by_mean = (of_weight * inverse).mul_(-rate)
        # The derivative of the root is 1 / (2 root bias), that of the inverse is -inverse².
        by_square = inverse.mul_(by_mean).mul_(mean).div_(root).mul_(-0.5 / bias_of_squares).add_(of_square)
        by_mean.add_(of_mean)
        by_gradient = (by_square * gradient).mul_(2 * (1 - decay_of_squares)).add_(by_mean, alpha=1 - decay)
        return of_weight, by_gradient, by_mean.mul_(decay), by_square.mul_(decay_of_squares), None, None, None, None


def _one_minus_power(base: float, exponent: Tensor) -> Tensor:
    """Return 1 − base ** exponent, to all digits of fp32 where the base is close to 1."""
    return -torch.expm1(exponent * math.log(base)) if base else torch.ones_like(exponent)
