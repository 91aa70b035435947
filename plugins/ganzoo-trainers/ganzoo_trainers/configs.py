"""The options of the trainers."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import NonNegativeInt, PositiveFloat, model_validator

from ganzoo.plugin import GANTrainerConfig


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
    def _adam_is_there(self) -> Self:
        options = self.discriminator_optimizer
        if self.unrolled_steps and self.unrolled_update == "adam" and (options.name != "adam" or options.amsgrad):
            raise ValueError(
                'unrolled_update = "adam" goes on from the discriminator\'s Adam: let discriminator_optimizer be '
                '"adam" without amsgrad, or set unrolled_update = "gradient"'
            )
        return self
