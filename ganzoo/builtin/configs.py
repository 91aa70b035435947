"""The options of the losses, penalties and trainers that ship with the core."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from ganzoo.builtin.optimizers import AdamConfig
from ganzoo.components.options import LossConfig, MetricConfig, OptimizerConfig, PenaltyConfig, TrainerConfig


class NonSaturatingConfig(LossConfig):
    """−log D(G(z)) for the generator (arXiv 1406.2661 §3), the loss that DCGAN trains with."""

    discriminator_terms: Literal["mean", "sum"] = "mean"
    """The discriminator's loss: mean of its real and its fake term, or their sum as in the DCGAN authors' code."""


class MinimaxConfig(NonSaturatingConfig):
    """log(1 − D(G(z))) for the generator: the saturating game of arXiv 1406.2661, eq. 1."""


class HingeConfig(LossConfig):
    """The hinge loss (Geometric GAN, arXiv 1705.02894; SNGAN, arXiv 1802.05957)."""


class WassersteinConfig(LossConfig):
    """The critic's estimate of the Wasserstein distance (arXiv 1701.07875); needs a Lipschitz critic."""


class LeastSquaresConfig(LossConfig):
    """LSGAN (arXiv 1611.04076): targets for real, fake, and what the generator wants."""

    real_target: float = 1.0
    """b: what the discriminator should say of real images."""
    fake_target: float = 0.0
    """a: what the discriminator should say of generated images."""
    generator_target: float = 1.0
    """c: what the generator wants the discriminator to say."""


class GradientPenaltyConfig(PenaltyConfig):
    """WGAN-GP's penalty (arXiv 1704.00028), between real and generated images."""

    weight: float = Field(default=10.0, ge=0)
    """λ of the paper."""
    target: float = Field(default=1.0, ge=0)
    """The gradient norm that is not penalized: 1 in the paper, 0 for the zero-centered form."""

    @property
    def is_gradient_penalty(self) -> bool:
        """True: of gradients between real and generated images."""
        return True


class R1Config(PenaltyConfig):
    """γ/2 · E‖∇D(x)‖² at real images (arXiv 1801.04406, eq. 9)."""

    weight: float = Field(default=10.0, ge=0)
    """γ of the paper."""

    @property
    def is_gradient_penalty(self) -> bool:
        """True: of gradients at the images."""
        return True


class R2Config(R1Config):
    """γ/2 · E‖∇D(x)‖² at generated images (arXiv 1801.04406, eq. 10)."""


class FrechetConfig(MetricConfig):
    """The Fréchet distance of Gaussians fitted to the features (arXiv 1706.08500): FID with Inception."""


class KernelConfig(MetricConfig):
    """The squared maximum mean discrepancy of features, with a cubic kernel (arXiv 1801.01401): KID with Inception."""

    subsets: PositiveInt = 100
    """Number of random subsets, over which the mean is taken."""
    subset_size: int = Field(default=1000, ge=2)
    """Images in each; fewer where there are no more."""


class InceptionScoreConfig(MetricConfig):
    """The exponential of the mutual information between sample and predicted class (arXiv 1606.03498)."""

    splits: PositiveInt = 10
    """Parts of the samples, over which the mean is taken."""


class PrecisionRecallConfig(MetricConfig):
    """The share of samples in the manifold of real images, and of real images in that of samples (arXiv 1904.06991)."""

    neighbors: PositiveInt = 3
    """An image's manifold reaches to its n-th neighbor."""
    images: PositiveInt = 10_000
    """Most images of either kind."""


class DensityCoverageConfig(MetricConfig):
    """Real neighborhoods that a sample lies in, and the share of them with a sample (arXiv 2002.09797)."""

    neighbors: PositiveInt = 5
    """An image's neighborhood reaches to its n-th neighbor."""
    images: PositiveInt = 10_000
    """Most images of either kind."""


class DiversityConfig(MetricConfig):
    """The mean distance of two samples over that of two real images, by pixels and by features."""


class ClassCoverageConfig(MetricConfig):
    """The classes that a classifier of the dataset finds among the samples."""


class MemorizationConfig(MetricConfig):
    """How much nearer samples are to training images than unseen images are (after arXiv 2004.05675)."""


class GANTrainerConfig(TrainerConfig):
    """Discriminator and generator in turn, in the order of the paper or of the DCGAN authors' code."""

    discriminator_steps: PositiveInt = 1
    """k of the GAN algorithm: discriminator updates for each generator update, each on a minibatch of its own."""
    schedule: Literal["discriminator_first", "alternate_minibatches"] = "discriminator_first"
    """k discriminator updates, then the generator's beside the last; or one minibatch for the generator, then
    k for the discriminator, as the DCGAN authors train."""
    fake_batch: Literal["reuse", "fresh"] = "reuse"
    """Let the generator learn from the images that the last discriminator update saw, or make new ones."""
    discriminator_update: Literal["joint", "separate"] = "joint"
    """One update on real and generated images together, or one on the real, then one on the generated."""
    fake_statistics: Literal["batch", "running"] = "batch"
    """Batch statistics in the generator for the images that the discriminator learns from; "running", as Keras'
    `predict` takes them, needs `fake_batch = "fresh"`."""
    generator_optimizer: OptimizerConfig = AdamConfig()
    """Optimizer of the generator."""
    discriminator_optimizer: OptimizerConfig = AdamConfig()
    """Optimizer of the discriminator and of the penalties' parameters."""
    ema_decay: float = Field(default=0.0, ge=0, lt=1)
    """Keep an exponential moving average of the generator's weights with this decay; 0: none."""
    ema_start: NonNegativeInt = 0
    """Steps before the average begins; until then it is a copy."""
    lr_decay_start: float = Field(default=1.0, ge=0, le=1)
    """Share of the run after which both learning rates fall linearly to 0 at its end; 1: they stay."""
    generator_grad_clip: PositiveFloat | None = None
    """Largest norm of the generator's gradient; left out: no clipping."""
    discriminator_grad_clip: PositiveFloat | None = None
    """Largest norm of the discriminator's gradient; left out: no clipping."""

    @property
    def batches_per_step(self) -> int:
        """Number of minibatches: one for each discriminator update, and one for the generator where it has its own."""
        return self.discriminator_steps + (self.schedule == "alternate_minibatches")

    @property
    def scales_loss(self) -> bool:
        """True: each network's loss has its own scaler."""
        return True

    @model_validator(mode="after")
    def _running_statistics_make_fresh_images(self) -> Self:
        reuses = self.fake_batch == "reuse" and self.schedule == "discriminator_first"
        if self.fake_statistics == "running" and reuses:
            raise ValueError('fake_statistics = "running" needs fake_batch = "fresh": the generator learns from others')
        return self
