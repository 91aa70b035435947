"""The options of the trainers."""

from __future__ import annotations

from pydantic import NonNegativeInt, PositiveFloat

from ganzoo.builtin.configs import AdversarialConfig


class UnrolledConfig(AdversarialConfig):
    """The unrolled GAN (arXiv 1611.02163): the generator learns from a discriminator that has reacted to it."""

    unrolled_steps: NonNegativeInt = 5
    """K of the paper: steps that the discriminator is thought ahead for the generator's update; 0: `adversarial`."""
    unrolled_lr: PositiveFloat = 0.1
    """η of the paper: length of these steps, which are plain gradient descent."""
