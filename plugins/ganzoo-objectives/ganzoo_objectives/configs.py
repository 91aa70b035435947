"""The options of the losses and penalties, without torch."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, ValidationInfo, field_validator

from ganzoo.plugin import DatasetInfo, LossConfig, NonSaturatingConfig, PenaltyConfig, Schedule, Scheduled

PolicyName = Literal["color", "translation", "cutout"]


class RelativisticAverageConfig(LossConfig):
    """RaGAN's loss (arXiv 1807.00734, §4): is an image more real than the average image of the other kind?"""

    form: Literal["logistic", "least_squares", "hinge"] = "logistic"
    """Loss on the difference of logits: cross-entropy (RaSGAN), least squares (RaLSGAN) or hinge (RaHingeGAN)."""

    mixes_batch: ClassVar[bool] = True
    """True: each logit is compared with the minibatch's mean."""


class RelativisticPairingConfig(RelativisticAverageConfig):
    """RpGAN's loss on pairs (arXiv 1807.00734): is a real image more real than a generated one? R3GAN (arXiv
    2501.05441) uses it with `r1` and `r2`."""

    mixes_batch: ClassVar[bool] = False
    """False: the loss is a mean over pairs."""


class LabelSmoothingConfig(NonSaturatingConfig):
    """The non-saturating loss with one-sided label smoothing (arXiv 1606.03498, §3.4)."""

    real_target: float = Field(default=0.9, gt=0.5, le=1)
    """The probability that the discriminator should give to real images; that of generated ones stays 0."""


class DRAGANConfig(PenaltyConfig):
    """DRAGAN's penalty on the gradient around real images (arXiv 1705.07215)."""

    weight: Scheduled[NonNegativeFloat] = 10.0
    """λ of the paper."""
    target: float = Field(default=1.0, ge=0)
    """k of the paper: the gradient norm that is not penalized."""
    radius: float = Field(default=0.5, gt=0)
    """How far from a real image, in standard deviations of all pixels of the batch."""

    is_gradient_penalty: ClassVar[bool] = True
    """Around real images."""

    mixes_batch: ClassVar[bool] = True
    """True: the radius is in deviations of the minibatch."""


class FeatureMatchingConfig(PenaltyConfig):
    """Feature matching (arXiv 1606.03498, §3.1): the generator matches the mean features of real images."""

    layer: int = Field(default=-1, ge=-10_000, lt=10_000)
    """Which of the discriminator's feature maps: 0 is the first, −1 the last before the logit."""

    mixes_batch: ClassVar[bool] = True
    """True: the features are means over the minibatch."""


class ActionConfig(PenaltyConfig):
    """Options of a penalty that acts at every step instead of adding a term, so that it has no weight and no
    interval."""

    @field_validator("weight", "interval", "own_update")
    @classmethod
    def _has_no_term(cls, value: Any, info: ValidationInfo) -> Any:
        if value != cls.model_fields[info.field_name or ""].default:
            raise ValueError("must be left out: the penalty adds no term to a loss, and acts at every step")
        return value


class WeightClippingConfig(ActionConfig):
    """Clip every weight of the critic to [−limit, limit] (WGAN, arXiv 1701.07875, algorithm 1)."""

    limit: PositiveFloat = 0.01
    """c of the paper."""


class InstanceNoiseConfig(ActionConfig):
    """Decaying Gaussian noise on all images that the discriminator sees (arXiv 1610.04490, §3; arXiv 1701.04862,
    §3)."""

    sigma: Scheduled[NonNegativeFloat] = Schedule[NonNegativeFloat](from_=0.1, to=0.0, until="10k steps")
    """Standard deviation; images are in [−1, 1]."""


class AugmentConfig(ActionConfig):
    """Options that both augmentations share: DiffAugment's policies (arXiv 2006.10738, §3.2)."""

    policies: tuple[PolicyName, ...] = Field(default=("color", "translation", "cutout"), min_length=1)
    """Augmentations of an image, applied in this order: brightness, saturation and contrast; a shift; a blank
    square."""
    translation: float = Field(default=0.125, ge=0, le=0.5)
    """Largest shift as a share of height and width; the uncovered border is filled with 0, middle gray."""
    cutout: float = Field(default=0.5, gt=0, le=1)
    """Side of the blank square as a share of height and width; its center may lie anywhere in the image."""

    augments: ClassVar[bool] = True
    """True: real and generated images alike."""

    def check_info(self, info: DatasetInfo) -> None:
        """Raise ValueError unless the samples are images."""
        _ = info.image


class DiffAugmentConfig(AugmentConfig):
    """Random changes to all images that the discriminator sees (DiffAugment, arXiv 2006.10738)."""

    probability: Scheduled[Annotated[float, Field(ge=0, le=1)]] = 1.0
    """Probability of each policy for each image; R3GAN raises it over the run."""


class AdaptiveConfig(ActionConfig):
    """Options of an augmentation whose probability ADA's feedback sets (arXiv 2006.06676, §3)."""

    target: float = Field(default=0.6, ge=-1, le=1)
    """Target for the mean sign of the logits of real images; above it the discriminator overfits."""
    ramp_images: PositiveInt = 500_000
    """Number of real images over which the probability can rise from 0 to 1."""
    adjust_every: PositiveInt = 4
    """Updates of the discriminator between two adjustments, each by the mean sign since the last."""
    max_probability: float = Field(default=0.8, ge=0, le=1)
    """Upper limit of the probability: near 1 the generator may learn the augmentation."""

    mixes_batch: ClassVar[bool] = True
    """True: each minibatch counts as one update."""


class AdaptiveAugmentConfig(AdaptiveConfig, AugmentConfig):
    """DiffAugment's policies, each with a probability that ADA's feedback sets (arXiv 2006.06676, §3).

    Only the feedback is ADA's: its pipeline of 18 transformations is the penalty `ada` of ganzoo-stylegan.
    """
