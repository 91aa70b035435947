"""The options of the trainers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, model_validator

from ganzoo.plugin import AdamConfig, GANTrainerConfig, OptimizerConfig, Scheduled

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer

Beta = Annotated[float, Field(ge=0, lt=1)]


class UnrolledConfig(GANTrainerConfig):
    """The unrolled GAN (arXiv 1611.02163): the generator learns from a discriminator that has reacted to it."""

    unrolled_steps: NonNegativeInt = 5
    """K of the paper: steps that the discriminator is thought ahead for the generator's update; 0: `adversarial`."""
    unrolled_update: Literal["adam", "gradient"] = "adam"
    """How these steps are taken: by Adam, from where the discriminator's stands, as in the paper's experiments; or by
    plain gradient descent, as in its equations."""
    unrolled_lr: PositiveFloat | None = None
    """η of the paper: learning rate of these steps; left out: the discriminator's. Gradient descent on DCGAN's
    discriminator, whose weights are small, gets unstable from about 1e-3 on."""

    @property
    def differentiates_twice(self) -> bool:
        """True where steps are unrolled: the generator's gradient goes through those of the discriminator."""
        return self.unrolled_steps > 0

    @model_validator(mode="after")
    def _options_suit_unrolling(self) -> Self:
        options = self.discriminator_optimizer
        goes_on = self.unrolled_steps and self.unrolled_update != "gradient"
        if goes_on and (not isinstance(options, AdamConfig) or options.amsgrad):
            raise ValueError(
                'unrolled_update = "adam" goes on from the discriminator\'s Adam: let discriminator_optimizer be '
                '"adam" without amsgrad, or set unrolled_update = "gradient"'
            )
        if self.micro_batch_size is not None:
            raise ValueError("the unrolled steps are taken on a whole minibatch: leave micro_batch_size out")
        return self


class LionConfig(OptimizerConfig):
    """Lion (arXiv 2302.06675): the sign of a momentum, so that each weight moves by the same amount; wants a rate three
    to ten times lower than Adam's.
    """

    lr: Scheduled[PositiveFloat] = 5e-5
    """Learning rate: what each weight moves by."""
    weight_decay: NonNegativeFloat = 0.0
    """Decoupled from the gradient, on every parameter."""
    betas: tuple[Scheduled[Beta], Scheduled[Beta]] = (0.5, 0.99)
    """Shares of the momentum in a step, and of what is kept of it; the paper's are 0.9 and 0.99."""

    def build(self, parameters: Iterable[Tensor]) -> Optimizer:
        """Build it over `parameters`."""
        from ganzoo_trainers.lion import Lion

        return Lion(parameters, **self.model_dump(exclude={"name"}))
