"""The options of networks, trainers, datasets and the metric, and which images they suit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from ganzoo_dcgan.configs import InitOptions
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt, model_validator

from ganzoo.plugin import (
    AdamConfig,
    ComponentConfig,
    DatasetConfig,
    DatasetInfo,
    GANTrainerConfig,
    GeneratorConfig,
    ImageDatasetConfig,
    ImageSize,
    ImageSpec,
    MetricConfig,
    OptimizerConfig,
    PenaltyConfig,
    Schedule,
    VectorSpec,
)

if TYPE_CHECKING:
    from ganzoo.plugin import Batch

DEEPEST = 8
"""Levels of the U-Net at 256 pixels."""

FALLING = AdamConfig(lr=Schedule(from_=2e-4, to=0.0, start=0.5))
"""Adam whose rate falls linearly to 0 over the second half of the run."""


class TranslatorConfig(GeneratorConfig):
    """Options of generators that turn a condition, an image, into another image of the same size."""

    width: PositiveInt = 64
    """Channels of the first layer."""
    init: InitOptions = InitOptions()
    """Initialization of the weights."""
    uses: ClassVar[frozenset[str]] = frozenset({"condition"})

    def check_info(self, info: DatasetInfo) -> None:
        """Raise ValueError unless conditions are images of the samples' size."""
        sides = info.image.shape[1:]
        if info.condition is not None and info.condition.shape[1:] != sides:
            raise ValueError(f"needs conditions of {sides[0]}×{sides[1]} pixels, and they are {info.condition}")


class UNetConfig(TranslatorConfig):
    """pix2pix's U-Net (arXiv 1611.07004): halves the image down to one pixel and doubles it again, with skips."""

    latent_dim: int = Field(default=1, ge=0, le=1)
    """1: dropout is the noise, in sampling too, seeded by one number for each sample; 0: no dropout."""
    depth: PositiveInt | None = None
    """Number of times that the image is halved; default: as often as its sides allow, 8 times at most."""
    norm: Literal["batch", "instance", "none"] = "batch"
    """Normalization of all layers but the first, the deepest and the last; "instance" is what batch norm of one image
    at a time amounts to, without gains and biases."""

    def levels(self, image: ImageSpec) -> int:
        """Return how often images are halved."""
        common = math.gcd(image.height, image.width)
        return self.depth or min(DEEPEST, (common & -common).bit_length() - 1)

    def check_info(self, info: DatasetInfo) -> None:
        """Raise ValueError unless conditions are of the samples' size, which can be halved."""
        super().check_info(info)
        levels, sides = self.levels(info.image), info.image.shape[1:]
        if levels < 2 or any(side % 2**levels for side in sides):
            factor = 2 ** max(levels, 2)
            raise ValueError(
                f"halves images {max(levels, 2)} times, and these are {sides[0]}×{sides[1]} pixels: set depth, or "
                f"dataset.image_size to a multiple of {factor}"
            )


class ResNetTranslatorConfig(TranslatorConfig):
    """CycleGAN's generator (arXiv 1703.10593): residual blocks on an image at a quarter of its size."""

    latent_dim: Literal[0] = 0
    """The generator has no noise input."""
    blocks: PositiveInt | None = None
    """Residual blocks; default: 9 for images of 256 pixels and more, else 6."""
    norm: Literal["batch", "instance", "none"] = "instance"
    """Normalization of all layers but the last; "instance" is without gains and biases."""

    def check_info(self, info: DatasetInfo) -> None:
        """Raise ValueError unless conditions are of the samples' size, a multiple of 4 of 16 pixels or more."""
        super().check_info(info)
        sides = info.image.shape[1:]
        if any(side % 4 or side < 16 for side in sides):
            raise ValueError(
                f"makes images whose sides are multiples of 4 from 16 on, and these are {sides[0]}×{sides[1]}: "
                "set dataset.image_size"
            )


class Pix2PixConfig(GANTrainerConfig):
    """pix2pix (arXiv 1611.07004): a conditional GAN whose generator also comes close to the target."""

    batch_size: PositiveInt = 1
    """Images in a minibatch, over all processes together."""
    l1_weight: NonNegativeFloat = 100.0
    """λ of the paper: weight of the mean absolute difference from the target."""
    enlarge: float = Field(default=1.0, ge=1, le=2)
    """Factor by which each pair is enlarged before an update, and then cropped at random to its own size; the paper's
    286 pixels for 256 are 1.117."""
    generator_optimizer: OptimizerConfig = FALLING
    """Optimizer of the generator; by default the rate falls to 0 over the second half of the run."""
    discriminator_optimizer: OptimizerConfig = FALLING
    """Optimizer of the discriminator and of the penalties' parameters."""
    uses: ClassVar[frozenset[str]] = frozenset({"condition"})


class CycleGANConfig(GANTrainerConfig):
    """CycleGAN (arXiv 1703.10593): from the domain of the conditions to that of the samples and back, without pairs."""

    batch_size: PositiveInt = 1
    """Images of each domain in a minibatch, over all processes together."""
    adversarial_weight: NonNegativeFloat = 2.0
    """Weight of the generators' loss: 2, since the paper's squares are twice those of `least_squares`."""
    cycle_weight: NonNegativeFloat = 10.0
    """λ of the paper: weight of the mean absolute difference between an image and its reconstruction."""
    identity_weight: NonNegativeFloat = 5.0
    """Weight of the mean absolute difference between an image and its translation to its own domain; keeps colors, but
    harms if one domain is the negative of the other."""
    pool_size: NonNegativeInt = 50
    """Number of earlier generated images kept for each domain, which the discriminators see half of the time; 0:
    none."""
    enlarge: float = Field(default=1.0, ge=1, le=2)
    """Factor by which each image is enlarged before an update, and then cropped at random to its own size; the authors'
    286 pixels for 256 are 1.117."""
    schedule: Literal["generator_first"] = "generator_first"  # type: ignore[assignment]
    """Both generators on a minibatch, then both discriminators on the same one."""
    discriminator_update: Literal["joint"] = "joint"
    """One update on real and generated images together."""
    fake_statistics: Literal["batch"] = "batch"
    """Batch statistics in the generators, if they have batch norm, at every update."""
    generator_optimizer: OptimizerConfig = FALLING
    """Optimizer of both generators; by default the rate falls to 0 over the second half of the run."""
    discriminator_optimizer: OptimizerConfig = FALLING
    """Optimizer of both discriminators."""
    uses: ClassVar[frozenset[str]] = frozenset({"condition"})

    @property
    def roles(self) -> Mapping[str, Literal["generator", "discriminator"]]:
        """Two of each: the further ones make and judge conditions."""
        return {**super().roles, "generator_back": "generator", "discriminator_back": "discriminator"}

    def info_for(self, role: str, info: DatasetInfo) -> DatasetInfo:
        """Return the domains for the way there, and the other way round for the way back.

        Raises:
            ValueError: conditions are no images, or of another shape than the samples where there is an identity term.
        """
        if not isinstance(info.condition, ImageSpec):
            raise ValueError("translates images, and the dataset's conditions are none")
        if self.identity_weight and info.condition != info.samples:
            raise ValueError(
                f"translates each image to its own domain too, and these are of {info.condition} and {info.samples}: "
                "set trainer.identity_weight = 0"
            )
        return DatasetInfo(info.condition, condition=info.samples) if role.endswith("_back") else info

    def batch_for(self, role: str, batch: Batch) -> Batch:
        """Return the conditions as samples, and the samples as conditions, for the way back."""
        from ganzoo.plugin import Batch

        # Labels are those of the samples.
        return Batch(batch.condition, condition=batch.real) if role.endswith("_back") else batch  # type: ignore[arg-type]

    def check_parts(self, parts: Mapping[str, ComponentConfig]) -> None:
        """Raise ValueError where a discriminator judges pairs, which unpaired domains have none of."""
        super().check_parts(parts)
        for path, part in parts.items():
            if "discriminator" in path and "condition" in part.uses:
                raise ValueError(
                    f'cyclegan compares domains and has no pairs, and "{part.name}" ({path}) judges pairs: set '
                    "conditional = false"
                )
            if isinstance(part, PenaltyConfig) and part.own_update:
                raise ValueError(
                    f'cyclegan takes no penalties with updates of their own, as "{part.name}" ({path}): set '
                    "own_update = false"
                )


Change = Literal["outline", "blur", "half", "gray", "invert", "rotate"]


class _OfDatasetsConfig(ImageDatasetConfig):
    """Options of a dataset that is made of others."""

    image_size: ImageSize = 32
    channels: PositiveInt = 1
    resize: Literal["bilinear", "bicubic", "lanczos", "box", "nearest"] = "bicubic"
    source: DatasetConfig = DatasetConfig(name="digits")
    """Dataset of the samples: its name and its own options. Set size, channels, classes and the other options that
    every dataset has in the outer table, or the same here."""

    @property
    def has_labels(self) -> bool | None:
        """Whether the dataset of the samples has."""
        return self.source.has_labels

    def condition_spec(self) -> ImageSpec | VectorSpec | None:
        """Return the shape of the samples."""
        return self.sample_spec()

    def inner(self) -> dict[str, DatasetConfig]:
        """Return the options of the datasets that this one is made of, by their keys."""
        return {"source": self.source}

    @model_validator(mode="after")
    def _inner_datasets_suit(self) -> Self:
        if self.channels not in (1, 3):
            raise ValueError(f"channels is {self.channels}: take 1 for gray images or 3 for RGB")
        if self.fast_decode:
            raise ValueError("fast_decode has no effect on the images of other datasets: leave it out")
        for key, config in self.inner().items():
            kind = type(config)
            if kind is DatasetConfig:  # not yet that of a registered dataset
                continue
            if not issubclass(kind, ImageDatasetConfig) or config.condition_spec() is not None:
                raise ValueError(f'{key} is "{config.name}": take a dataset of single images')
            for option in ImageDatasetConfig.model_fields.keys() - {"name", "root"}:
                if getattr(config, option) not in (kind.model_fields[option].default, getattr(self, option)):
                    raise ValueError(f"{key}.{option} has no effect: set {option} of the dataset around it")
        return self


class DerivedPairsConfig(_OfDatasetsConfig):
    """Pairs of the images of any dataset and images computed from them, such as digits and their outlines."""

    condition: tuple[Change, ...] = Field(default=("outline",), min_length=1)
    """Changes that turn an image into its condition, applied in this order: "outline", the magnitude of the gradient;
    "blur"; "half", the right half blurred beyond recognition; "gray"; "invert"; "rotate", a quarter turn."""
    pairing: Literal["aligned", "unpaired"] = "aligned"
    """"aligned": each image with its own condition; "unpaired": every second image, and the conditions of
    the others."""

    @model_validator(mode="after")
    def _range_is_known(self) -> Self:
        if self.value_range == "auto":
            raise ValueError(
                'value_range is "auto": set it to [low, high], since conditions are computed from the images'
            )
        return self


class TwoDomainsConfig(_OfDatasetsConfig):
    """The images of two datasets without pairs, such as scikit-learn's digits and MNIST."""

    conditions: DatasetConfig = DatasetConfig(name="digits")
    """Dataset of the conditions, as in `source`."""
    pairing: Literal["unpaired"] = "unpaired"
    """Both are drawn independently."""
    small_options: ClassVar = {"conditions": {"name": "synthetic"}, "image_size": 16}

    def inner(self) -> dict[str, DatasetConfig]:
        """Return the options of both."""
        return {"source": self.source, "conditions": self.conditions}


class L1Config(MetricConfig):
    """The mean absolute difference from the targets, of samples in [−1, 1]; for pairs."""
