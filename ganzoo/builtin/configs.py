"""The options of the losses, penalties, trainers and datasets that ship with the core."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from ganzoo.builtin.optimizers import AdamConfig
from ganzoo.components.options import (
    ComponentConfig,
    DiscriminatorConfig,
    ImageDatasetConfig,
    ImageSize,
    LossConfig,
    OptimizerConfig,
    PenaltyConfig,
    TrainerConfig,
)
from ganzoo.components.schedule import Scheduled
from ganzoo.text import LARGEST_INT

Target = Annotated[float, Field(ge=-1000, le=1000)]


class NonSaturatingConfig(LossConfig):
    """−log D(G(z)) for the generator (arXiv 1406.2661 §3), the loss that DCGAN trains with."""

    discriminator_terms: Literal["mean", "sum"] = "mean"
    """The discriminator's loss: mean of its real and its fake term, or their sum as in the DCGAN authors' code."""


class MinimaxConfig(NonSaturatingConfig):
    """log(1 − D(G(z))) for the generator: the saturating loss of arXiv 1406.2661, eq. 1."""


class HingeConfig(LossConfig):
    """The hinge loss (Geometric GAN, arXiv 1705.02894; SNGAN, arXiv 1802.05957)."""


class WassersteinConfig(LossConfig):
    """The critic's estimate of the Wasserstein distance (arXiv 1701.07875); needs a Lipschitz critic."""


class LeastSquaresConfig(LossConfig):
    """LSGAN (arXiv 1611.04076): least squares to the targets a (fake), b (real) and c (generator)."""

    real_target: Target = 1.0
    """b: target of the discriminator's loss for real images."""
    fake_target: Target = 0.0
    """a: target of the discriminator's loss for generated images."""
    generator_target: Target = 1.0
    """c: target of the generator's loss."""


class _AtSamplesConfig(PenaltyConfig):
    """Options of penalties on gradients at samples."""

    at: Literal["unaugmented", "augmented"] = "unaugmented"
    """Differentiate at the samples themselves, through any augmentation (as ADA and R3GAN do), or at those that the
    discriminator sees."""

    is_gradient_penalty: ClassVar[bool] = True
    """True: it depends on gradients at samples, or between them."""


class GradientPenaltyConfig(_AtSamplesConfig):
    """WGAN-GP's penalty (arXiv 1704.00028), between real and generated images."""

    weight: Scheduled[NonNegativeFloat] = 10.0
    """λ of the paper."""
    target: float = Field(default=1.0, ge=0)
    """The gradient norm that is not penalized: 1 in the paper, 0 for the zero-centered form."""


class R1Config(_AtSamplesConfig):
    """γ/2 · E‖∇D(x)‖² at real images (arXiv 1801.04406, eq. 9)."""

    weight: Scheduled[NonNegativeFloat] = 10.0
    """γ of the paper."""


class R2Config(R1Config):
    """γ/2 · E‖∇D(x)‖² at generated images (arXiv 1801.04406, eq. 10)."""


class GANTrainerConfig(TrainerConfig):
    """Discriminator and generator in turn, in the order of the paper or of the DCGAN authors' code."""

    discriminator_steps: PositiveInt = 1
    """k of the GAN algorithm: discriminator updates for each generator update, each on a minibatch of its own."""
    schedule: Literal["discriminator_first", "alternate_minibatches"] = "discriminator_first"
    """"discriminator_first": k discriminator updates, then a generator update on the last minibatch;
    "alternate_minibatches": one minibatch for the generator, then k others for the discriminator, as the authors of
    DCGAN train; those of R3GAN give each network minibatches of its own too, the discriminator's first."""
    generator_steps: PositiveInt = 1
    """Generator updates in a step, each on newly generated images, except the first with `fake_batch = "reuse"`."""
    micro_batch_size: PositiveInt | None = None
    """Compute the gradients of this many images at a time, over all processes together, and add them up: less memory,
    the same mean. Batch norm in the generator then uses the statistics of this many images. Must be a multiple of the
    group size of a discriminator with minibatch standard deviation; default: the whole minibatch."""
    fake_batch: Literal["reuse", "fresh"] = "reuse"
    """"reuse": the generator learns from the images of the last discriminator update; "fresh": from new ones. With
    `schedule = "alternate_minibatches"` they are always new."""
    discriminator_update: Literal["joint", "separate"] = "joint"
    """"joint": one update on real and generated images together; "separate": one on the real, then one on the
    generated."""
    fake_statistics: Literal["batch", "running"] = "batch"
    """Statistics of the generator's batch norm for the images that the discriminator learns from; "running", as in
    Keras' `predict`, needs images of its own for the generator, such as by `fake_batch = "fresh"`."""
    generator_optimizer: OptimizerConfig = AdamConfig()
    """Optimizer of the generator."""
    discriminator_optimizer: OptimizerConfig = AdamConfig()
    """Optimizer of the discriminator and of the penalties' parameters."""
    ema_decay: float = Field(default=0.0, ge=0, lt=1)
    """Decay of an exponential moving average of the generator's weights; 0: no average, unless `ema_half_life` is
    set."""
    ema_half_life: Scheduled[NonNegativeFloat] | None = None
    """Half-life of the average in real images, in place of a decay for each step."""
    ema_ramp: NonNegativeFloat = 0.0
    """Limit the half-life to this share of the images seen so far (StyleGAN2: 0.05); 0: no limit."""
    ema_buffers: Literal["average", "copy"] = "average"
    """"average": average the buffers too, such as the statistics of batch norm, at first with a shorter memory, since
    batch norm starts at a variance of 1; "copy": copy them (StyleGAN2, R3GAN)."""
    ema_start: NonNegativeInt = 0
    """Steps before the average begins; until then it is a copy."""
    generator_grad_clip: PositiveFloat | None = None
    """Largest norm of the generator's gradient; default: no clipping."""
    discriminator_grad_clip: PositiveFloat | None = None
    """Largest norm of the discriminator's gradient; default: no clipping."""

    @property
    def batches_per_step(self) -> int:
        """Number of minibatches: one for each discriminator update, and one for the generator where it has its own."""
        return self.discriminator_steps + (self.schedule == "alternate_minibatches")

    @property
    def micro_batches(self) -> int:
        """Number of micro-batches in a minibatch."""
        return self.batch_size // (self.micro_batch_size or self.batch_size)

    @property
    def samples_per_logit(self) -> int:
        """Samples that a discriminator judges as one: 1, unless a derived trainer packs them."""
        return 1

    def whole_groups(self, discriminator: DiscriminatorConfig) -> int:
        """Return of which number each process's samples must be a multiple, to keep the discriminator's groups
        whole."""
        return min(discriminator.judged_together * self.samples_per_logit, self.batch_size)

    scales_loss: ClassVar[bool] = True
    """True: each network's loss has its own scaler."""

    def check_parts(self, parts: Mapping[str, ComponentConfig]) -> None:
        """Raise ValueError where the gradient of a minibatch is not the mean of its micro-batches', of whole groups."""
        if self.micro_batch_size is None:
            return
        wrong = [f'"{part.name}" ({path})' for path, part in parts.items() if getattr(part, "mixes_batch", False)]
        if wrong:
            raise ValueError(
                f"micro_batch_size does not go with {' and '.join(wrong)}, which sees a minibatch as a whole: "
                "leave it out, or take parts that judge each image alone, such as a discriminator without batch norm"
            )
        for path, part in parts.items():
            group = self.whole_groups(part) if isinstance(part, DiscriminatorConfig) else 1
            if self.micro_batch_size % group:
                raise ValueError(
                    f'micro_batch_size is {self.micro_batch_size}, and "{part.name}" ({path}) compares the samples of '
                    f"groups, which take {group}: set it to a multiple of {group}, or leave it out"
                )

    @model_validator(mode="after")
    def _options_suit_each_other(self) -> Self:
        if self.ema_decay and self.ema_half_life is not None:
            raise ValueError("the average has a decay or a half-life: leave out ema_half_life, or set ema_decay = 0")
        if self.ema_ramp and self.ema_half_life is None:
            raise ValueError("ema_ramp limits a half-life: set ema_half_life too")
        reuses = self.fake_batch == "reuse" and self.schedule != "alternate_minibatches"
        if self.fake_statistics == "running" and reuses:
            raise ValueError('fake_statistics = "running" needs fake_batch = "fresh": the generator learns from others')
        if self.micro_batch_size is None:
            return self
        if self.batch_size % self.micro_batch_size:
            raise ValueError(f"micro_batch_size must divide batch_size, which is {self.batch_size}")
        if reuses:
            raise ValueError('micro_batch_size needs fake_batch = "fresh": no images of a whole minibatch are kept')
        if self.discriminator_update == "separate":
            raise ValueError('micro_batch_size needs discriminator_update = "joint"')
        return self


class _LabeledConfig(ImageDatasetConfig):
    """Options of a dataset whose images all have a class."""

    @property
    def has_labels(self) -> bool | None:
        """True."""
        return True


class DigitsConfig(_LabeledConfig):
    """scikit-learn's handwritten digits: 1,797 real images of 8×8 pixels, bundled, no download."""

    image_size: ImageSize = 32
    channels: PositiveInt = 1
    resize: Literal["bilinear", "bicubic", "lanczos", "box", "nearest"] = "bicubic"


class SyntheticConfig(_LabeledConfig):
    """Made-up pictures of colored discs, for tests and benchmarks; needs no data."""

    count: PositiveInt = 1024
    """Number of images."""
    num_classes: PositiveInt = 10
    """Number of classes; the class determines the disc's hue."""
    seed: int = Field(default=0, ge=-LARGEST_INT - 1, le=LARGEST_INT)
    """The same seed gives the same images."""
