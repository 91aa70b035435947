"""The classic losses, each on logits."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import relu, softplus

from ganzoo.builtin.configs import (
    HingeConfig,
    LeastSquaresConfig,
    MinimaxConfig,
    NonSaturatingConfig,
    WassersteinConfig,
)
from ganzoo.components.loss import Loss


class NonSaturating(Loss):
    """−log D(G(z)) for the generator (arXiv 1406.2661 §3), the loss that DCGAN trains with."""

    Config = NonSaturatingConfig
    config: NonSaturatingConfig

    def discriminator_loss(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """Return −log D(x) − log(1 − D(G(z))), or half of it; log(1 − sigmoid(l)) is −softplus(l)."""
        total = softplus(-real_logits).mean() + softplus(fake_logits).mean()
        return total / 2 if self.config.discriminator_terms == "mean" else total

    def generator_loss(self, real_logits: Tensor | None, fake_logits: Tensor) -> Tensor:
        """Return −log D(G(z))."""
        return softplus(-fake_logits).mean()


class Minimax(NonSaturating):
    """log(1 − D(G(z))) for the generator: the saturating loss of arXiv 1406.2661, eq. 1."""

    Config = MinimaxConfig

    def generator_loss(self, real_logits: Tensor | None, fake_logits: Tensor) -> Tensor:
        """Return log(1 − D(G(z))), whose gradient vanishes where the discriminator is confident, plus log D(x)."""
        loss = -softplus(fake_logits).mean()
        return loss if real_logits is None else loss - softplus(-real_logits).mean()


class LeastSquares(Loss):
    """LSGAN (arXiv 1611.04076, eq. 2): logits as regression targets."""

    Config = LeastSquaresConfig
    config: LeastSquaresConfig
    outputs_probabilities = False

    def discriminator_loss(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """Return ½(D(x) − b)² + ½(D(G(z)) − a)²."""
        real = (real_logits - self.config.real_target).square().mean()
        fake = (fake_logits - self.config.fake_target).square().mean()
        return (real + fake) / 2

    def generator_loss(self, real_logits: Tensor | None, fake_logits: Tensor) -> Tensor:
        """Return ½(D(G(z)) − c)²."""
        return (fake_logits - self.config.generator_target).square().mean() / 2


class Hinge(Loss):
    """The hinge loss (Geometric GAN, arXiv 1705.02894; SNGAN, arXiv 1802.05957)."""

    Config = HingeConfig
    outputs_probabilities = False

    def discriminator_loss(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """Return max(0, 1 − D(x)) + max(0, 1 + D(G(z)))."""
        return relu(1 - real_logits).mean() + relu(1 + fake_logits).mean()

    def generator_loss(self, real_logits: Tensor | None, fake_logits: Tensor) -> Tensor:
        """Return −D(G(z))."""
        return -fake_logits.mean()


class Wasserstein(Loss):
    """The critic's estimate of the Wasserstein distance (arXiv 1701.07875); needs a Lipschitz critic."""

    Config = WassersteinConfig
    outputs_probabilities = False

    def discriminator_loss(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """Return D(G(z)) − D(x), minus the estimated distance."""
        return fake_logits.mean() - real_logits.mean()

    def generator_loss(self, real_logits: Tensor | None, fake_logits: Tensor) -> Tensor:
        """Return −D(G(z)), plus D(x)."""
        return -fake_logits.mean() if real_logits is None else real_logits.mean() - fake_logits.mean()
