"""Optimizers of torch by name, each with its own options."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat

from ganzoo.components.options import Options
from ganzoo.components.schedule import Scheduled

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer

Beta = Annotated[float, Field(ge=0, lt=1)]


class OptimizerOptions(Options):
    """Options that every optimizer has."""

    lr: Scheduled[PositiveFloat] = 2e-4
    """Learning rate."""
    weight_decay: NonNegativeFloat = 0.0
    """L2 coupled to the gradient (in `adamw` decoupled from it), on every parameter."""

    def build(self, parameters: Iterable[Tensor]) -> Optimizer:
        """Build the torch optimizer over `parameters`, fused where that is faster."""
        import torch.optim

        options = self.model_dump()
        name = options.pop("name")
        parameters = list(parameters)
        cls = getattr(torch.optim, _TORCH_NAMES[name])
        if name in _FUSED and all(p.device.type in _FUSED[name] for p in parameters):
            options["fused"] = True
        optimizer: Optimizer = cls(parameters, **options)
        return optimizer


class AdamOptions(OptimizerOptions):
    """Adam (arXiv 1412.6980), with DCGAN's rate and momentum as defaults."""

    name: Literal["adam", "adamw"] = "adam"
    """Which optimizer."""
    betas: tuple[Scheduled[Beta], Scheduled[Beta]] = (0.5, 0.999)
    """Decay of the running means of the gradient and of its square."""
    eps: PositiveFloat = 1e-8
    """Added to the denominator."""
    amsgrad: bool = False
    """Use the largest second moment so far."""


class NAdamOptions(OptimizerOptions):
    """Adam with Nesterov momentum, and rectified Adam (arXiv 1908.03265)."""

    name: Literal["nadam", "radam", "adamax"]
    """Which optimizer."""
    betas: tuple[Scheduled[Beta], Scheduled[Beta]] = (0.5, 0.999)
    """Decay of the running means."""
    eps: PositiveFloat = 1e-8
    """Added to the denominator."""


class SGDOptions(OptimizerOptions):
    """Stochastic gradient descent."""

    name: Literal["sgd"]
    """Which optimizer."""
    momentum: NonNegativeFloat = 0.0
    """Share of the last update that is kept."""
    nesterov: bool = False
    """Nesterov's momentum."""


class RMSpropOptions(OptimizerOptions):
    """RMSprop, which the original WGAN trains with."""

    name: Literal["rmsprop"]
    """Which optimizer."""
    alpha: Beta = 0.99
    """Decay of the running mean of squares."""
    eps: PositiveFloat = 1e-8
    """Added to the denominator."""
    momentum: NonNegativeFloat = 0.0
    """Share of the last update that is kept."""
    centered: bool = False
    """Normalize by the variance rather than the mean square."""


AnyOptimizer = Annotated[
    AdamOptions | NAdamOptions | SGDOptions | RMSpropOptions,
    Field(discriminator="name"),
]

_TORCH_NAMES = {
    "adam": "Adam",
    "adamw": "AdamW",
    "nadam": "NAdam",
    "radam": "RAdam",
    "adamax": "Adamax",
    "sgd": "SGD",
    "rmsprop": "RMSprop",
}

# Devices on which torch's fused implementation is faster than its default one.
_FUSED: dict[str, tuple[str, ...]] = {
    "adam": ("cuda", "cpu"),
    "adamw": ("cuda", "cpu"),
    "sgd": ("cuda", "cpu"),
}


def current_lr(optimizer: Any) -> float:
    """Return the current learning rate of an optimizer's first group."""
    return float(optimizer.param_groups[0]["lr"])
