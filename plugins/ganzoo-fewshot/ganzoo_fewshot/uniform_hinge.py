"""The hinge loss with targets that are uniform in a range."""

from __future__ import annotations

from torch import Tensor

from ganzoo.plugin import Loss
from ganzoo_fewshot.configs import UniformHingeConfig


class UniformHinge(Loss):
    """E max(0, t − D(x)) + E max(0, t + D(G(z))) with t uniform in [low, high]; −E D(G(z)) for the generator.

    The authors draw t for each logit. Here the mean over t is taken exactly: the same loss and gradient in expectation,
    without their noise, and the same in every process.
    """

    Config = UniformHingeConfig
    config: UniformHingeConfig
    outputs_probabilities = False

    def discriminator_loss(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """Return the mean over all logits and targets."""
        return self._mean_hinge(real_logits) + self._mean_hinge(-fake_logits)

    def generator_loss(self, real_logits: Tensor | None, fake_logits: Tensor) -> Tensor:
        """Return minus the mean logit."""
        return -fake_logits.mean()

    def _mean_hinge(self, logits: Tensor) -> Tensor:
        """Return E max(0, t − x): linear below `low`, a parabola up to `high`, 0 beyond."""
        low, high = self.config.low, self.config.high
        left = (high - logits).clamp(0, high - low)
        return (left.square() / (2 * (high - low)) + (low - logits).clamp(min=0)).mean()
