"""The optimizers that ship with the core: torch's, each with its own options."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, model_validator

from ganzoo.components.options import OptimizerConfig
from ganzoo.components.schedule import Scheduled

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer

Beta = Annotated[float, Field(ge=0, lt=1)]


class TorchOptimizerConfig(OptimizerConfig):
    """Options of an optimizer of `torch.optim`, which are its arguments."""

    class_name: ClassVar[str]
    """Its name in `torch.optim`."""
    fused_on: ClassVar[frozenset[str]] = frozenset()
    """Devices on which torch's fused implementation is faster than its default one."""

    def build(self, parameters: Iterable[Tensor]) -> Optimizer:
        """Build it over `parameters`, fused where that is faster."""
        import torch.optim

        parameters = list(parameters)
        options: dict[str, Any] = self.model_dump(exclude={"name"})
        if self.fused_on and all(parameter.device.type in self.fused_on for parameter in parameters):
            options["fused"] = True
        optimizer: Optimizer = getattr(torch.optim, self.class_name)(parameters, **options)
        return optimizer


class _MomentsConfig(TorchOptimizerConfig):
    """Options of an optimizer by running means of the gradient and of its square."""

    betas: tuple[Scheduled[Beta], Scheduled[Beta]] = (0.5, 0.999)
    """Decay of the running means of the gradient and of its square."""
    eps: PositiveFloat = 1e-8
    """Added to the denominator."""


class AdamWConfig(_MomentsConfig):
    """Adam with decoupled weight decay (arXiv 1711.05101)."""

    class_name = "AdamW"
    fused_on = frozenset({"cuda", "cpu"})

    amsgrad: bool = False
    """Use the largest second moment so far."""


class AdamConfig(AdamWConfig):
    """Adam (arXiv 1412.6980), with DCGAN's rate and momentum as defaults."""

    class_name = "Adam"

    name: str = "adam"


class NAdamConfig(_MomentsConfig):
    """Adam with Nesterov momentum."""

    class_name = "NAdam"


class RAdamConfig(NAdamConfig):
    """Rectified Adam (arXiv 1908.03265)."""

    class_name = "RAdam"


class AdamaxConfig(NAdamConfig):
    """Adam by the infinity norm (arXiv 1412.6980, §7.1)."""

    class_name = "Adamax"


class SGDConfig(TorchOptimizerConfig):
    """Stochastic gradient descent."""

    class_name = "SGD"
    fused_on = frozenset({"cuda", "cpu"})

    momentum: NonNegativeFloat = 0.0
    """Share of the last update that is kept."""
    nesterov: bool = False
    """Nesterov's momentum."""

    @model_validator(mode="after")
    def _check_nesterov(self) -> Self:
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum: set momentum, such as 0.9")
        return self


class RMSpropConfig(TorchOptimizerConfig):
    """RMSprop, which the original WGAN trains with."""

    class_name = "RMSprop"

    alpha: Beta = 0.99
    """Decay of the running mean of squares."""
    eps: PositiveFloat = 1e-8
    """Added to the denominator."""
    momentum: NonNegativeFloat = 0.0
    """Share of the last update that is kept."""
    centered: bool = False
    """Normalize by the variance rather than the mean square."""
