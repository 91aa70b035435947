"""Relativistic losses: the discriminator compares real with generated images (arXiv 1807.00734)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor
from torch.nn.functional import relu, softplus

from ganzoo.plugin import Loss
from ganzoo_objectives.configs import RelativisticAverageConfig, RelativisticPairingConfig

FORMS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "logistic": lambda margin: softplus(-margin),
    "least_squares": lambda margin: (margin - 1).square(),
    "hinge": lambda margin: relu(1 - margin),
}
"""Losses of a margin, which fall as it grows."""


class RelativisticAverage(Loss):
    """RaGAN (arXiv 1807.00734, §4): each logit against the mean logit of the other kind."""

    Config = RelativisticAverageConfig
    config: RelativisticAverageConfig
    needs_real_logits = True
    outputs_probabilities = False

    def discriminator_loss(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """Return the mean of f(D(x) − E D(G(z))) and f(E D(x) − D(G(z))); logistic: f(m) = −log sigmoid(m)."""
        return self._prefer(real_logits, fake_logits)

    def generator_loss(self, real_logits: Tensor | None, fake_logits: Tensor) -> Tensor:
        """Return the same with real and generated images swapped."""
        assert real_logits is not None
        return self._prefer(fake_logits, real_logits)

    def _prefer(self, high: Tensor, low: Tensor) -> Tensor:
        # Half the paper's sum, as its author's code has it, so that rates suit it which suit other losses.
        cost = FORMS[self.config.form]
        return (cost(high - low.mean()).mean() + cost(high.mean() - low).mean()) / 2


class RelativisticPairing(Loss):
    """RpGAN (arXiv 1807.00734, eq. 3 and 4): each real logit against that of one generated image.

    With `r1` and `r2` it is the objective of R3GAN (arXiv 2501.05441, eq. 2).
    """

    Config = RelativisticPairingConfig
    config: RelativisticPairingConfig
    needs_real_logits = True
    outputs_probabilities = False

    def discriminator_loss(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """E f(D(x) − D(G(z))), with f(m) = log(1 + exp(−m)) where logistic; patches are paired by place."""
        return FORMS[self.config.form](real_logits - fake_logits).mean()

    def generator_loss(self, real_logits: Tensor | None, fake_logits: Tensor) -> Tensor:
        """E f(D(G(z)) − D(x))."""
        assert real_logits is not None
        return FORMS[self.config.form](fake_logits - real_logits).mean()
