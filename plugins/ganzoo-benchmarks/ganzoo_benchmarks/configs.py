"""The options of the benchmarks."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from ganzoo.plugin import (
    DatasetInfo,
    DiscriminatorConfig,
    ExtractorConfig,
    GeneratorConfig,
    ImageDatasetConfig,
    MetricConfig,
    Options,
    VectorDatasetConfig,
    square_size,
)


class GaussiansConfig(VectorDatasetConfig):
    """Gaussians in two dimensions, all of the same width."""

    count: PositiveInt = 100_000
    """Number of points, drawn once, in equal parts from each Gaussian."""
    data_seed: NonNegativeInt = 0
    """Seed of the points."""
    size: Literal[2] = 2
    """Length of a vector."""
    sigma: PositiveFloat
    """Standard deviation of each Gaussian."""

    def centers(self) -> list[tuple[float, float]]:
        """Return the means of the Gaussians."""
        raise NotImplementedError


class RingConfig(GaussiansConfig):
    """Gaussians at equal distances on a circle (arXiv 1611.02163, 1705.07761, 1712.04086)."""

    modes: PositiveInt = 8
    """Number of Gaussians."""
    radius: PositiveFloat = 1.0
    """Radius of the circle: 1 in PacGAN's experiments, 2 in the text of Unrolled GAN's."""
    sigma: PositiveFloat = 0.01
    """Standard deviation of each Gaussian; 0.02 in the text of Unrolled GAN."""

    def centers(self) -> list[tuple[float, float]]:
        """Return the points of the circle, counterclockwise from (radius, 0)."""
        angles = [2 * math.pi * index / self.modes for index in range(self.modes)]
        return [(self.radius * math.cos(angle), self.radius * math.sin(angle)) for angle in angles]


class GridConfig(GaussiansConfig):
    """Gaussians on the points of a square grid around 0 (arXiv 1705.07761, 1712.04086)."""

    side: PositiveInt = 5
    """Points along a side: side² Gaussians."""
    spacing: PositiveFloat = 2.0
    """Distance of neighbors."""
    sigma: PositiveFloat = 0.05
    """Standard deviation of each Gaussian."""

    def centers(self) -> list[tuple[float, float]]:
        """Return the points of the grid, row by row."""
        places = [self.spacing * (index - (self.side - 1) / 2) for index in range(self.side)]
        return [(x, y) for y in places for x in places]


class StackedMNISTConfig(ImageDatasetConfig):
    """Three random MNIST digits as the channels of an image: 1,000 modes (Unrolled GAN, arXiv 1611.02163)."""

    image_size: PositiveInt = 28
    """Size of the images in pixels."""
    channels: Literal[3] = 3
    """One for each digit."""
    count: PositiveInt = 128_000
    """Number of triples, drawn once (VEEGAN, PacGAN)."""
    split: Literal["all", "train", "test"] = "all"
    """The digits that triples are drawn from; both splits in VEEGAN and PacGAN."""
    data_seed: NonNegativeInt = 0
    """Seed of the triples."""
    download: bool = Field(default=True, json_schema_extra={"affects_pixels": False})
    """Download MNIST if it is not in `root`."""


class MLPOptions(Options):
    """Options that the dense networks share."""

    hidden: tuple[PositiveInt, ...] = Field(default=(128, 128), min_length=1)
    """Units of the hidden layers, first to last."""
    bias: bool = True
    """Whether the layers have biases."""
    init: Literal["normal", "orthogonal"] = "normal"
    """Initialization of the weights; biases start at 0."""
    init_scale: PositiveFloat = 0.02
    """Standard deviation of "normal", gain of "orthogonal"."""


class MLPGeneratorConfig(MLPOptions, GeneratorConfig):
    """Dense layers from latents to samples, for experiments on Gaussians (arXiv 1611.02163, arXiv 1712.04086)."""

    activation: Literal["relu", "tanh", "leaky_relu"] = "relu"
    """Activation of the hidden layers."""
    norm: Literal["batch", "none"] = "none"
    """Normalization of the hidden layers."""


class MLPDiscriminatorConfig(MLPOptions, DiscriminatorConfig):
    """Dense layers from samples to one logit, for experiments on Gaussians (arXiv 1611.02163, arXiv 1712.04086)."""

    activation: Literal["relu", "tanh", "leaky_relu", "maxout"] = "relu"
    """Activation of the hidden layers; "maxout" (arXiv 1302.4389) is the largest of several linear pieces."""
    pieces: PositiveInt = 5
    """Pieces of each maxout unit."""
    input_scale: PositiveFloat = 1.0
    """Factor on the samples, which brings larger ones into the range of −1 to 1."""


class DCGAN28GeneratorConfig(GeneratorConfig):
    """DCGAN for stacked MNIST at 28 pixels: a dense projection, then sizes 2, 4, 7, 14 and 28 (arXiv 1705.07761)."""

    width: PositiveInt = 64
    """Channels before the last layer; they double towards the latents."""
    depth: int = Field(default=4, ge=1, le=8)
    """Number of transposed convolutions."""
    latent: Literal["uniform", "normal"] = "uniform"
    """Distribution of the latents: between −1 and 1, or standard normal."""

    def check_info(self, info: DatasetInfo) -> None:
        """Raise ValueError unless the images are square."""
        square_size(info.image)


class DCGAN28DiscriminatorConfig(DiscriminatorConfig):
    """DCGAN for stacked MNIST at 28 pixels: 5×5 convolutions to sizes 14, 7, 4 and 2 (arXiv 1705.07761)."""

    width: PositiveInt = 64
    """Channels of the first layer; they double with each."""
    depth: int = Field(default=4, ge=1, le=8)
    """Number of convolutions."""
    slope: float = Field(default=0.2, ge=0, lt=1)
    """Slope of LeakyReLU below 0."""

    @property
    def mixes_batch(self) -> bool:
        """It has batch norm wherever there is more than one convolution."""
        return self.depth > 1

    def check_info(self, info: DatasetInfo) -> None:
        """Raise ValueError unless the images are square."""
        square_size(info.image)


class ModesConfig(MetricConfig):
    """Modes found among the samples: the classes of the dataset, whose samples are points or have a classifier."""

    within: PositiveFloat = 3.0
    """A point belongs to the nearest mode if it lies within this many of the mode's standard deviations: the root of
    the mean square over its points in the dataset."""
    hits: NonNegativeInt = 1
    """Samples that a mode needs to count as found."""


class StackedDigitsConfig(ExtractorConfig):
    """A classifier of single digits, trained on the channels of `stacked_mnist`, that gives logits over all triples."""

    steps: PositiveInt = 600
    """Training steps, of 128 digits each."""
