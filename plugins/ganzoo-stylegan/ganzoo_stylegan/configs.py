"""The options of StyleGAN2, its path length penalty and its augmentation, without torch."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Literal

from ganzoo_objectives.configs import AdaptiveConfig
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from ganzoo.plugin import (
    ComponentConfig,
    DatasetInfo,
    DiscriminatorConfig,
    GeneratorConfig,
    ImporterConfig,
    Options,
    PenaltyConfig,
    Scheduled,
    square_size,
)

Preset = Literal["auto", "cifar", "paper256"]
SIZES = tuple(2**power for power in range(3, 11))
MAPPING_LAYERS = MappingProxyType({"auto": 2, "cifar": 2, "paper256": 8})
STYLE_MIXING = MappingProxyType({"auto": 0.9, "cifar": 0.0, "paper256": 0.9})
MINIBATCH_STDDEV = MappingProxyType({"auto": 4, "cifar": 32, "paper256": 8})


class StyleSamplingOptions(Options):
    """How a trained generator makes images; `--set generator.sampling.truncation=0.7` changes it for one command."""

    truncation: float = Field(default=1.0, ge=0)
    """ψ: styles are w̄ + ψ(w − w̄); below 1 they are nearer to the mean, for better images that differ less."""
    noise: Literal["const", "random", "none"] = "const"
    """"const": the same noise maps for all images; "random": new ones for each image, other ones for
    another number of images; "none": no noise."""


class StyleGAN2GeneratorConfig(GeneratorConfig):
    """Mapping network, modulated convolutions and noise (StyleGAN2, arXiv 1912.04958; ADA, arXiv 2006.06676)."""

    latent_dim: PositiveInt = 512
    """Length of a latent vector."""
    preset: Preset = "auto"
    """The authors' configuration that sets the defaults of the options below."""
    conditional: bool = False
    """Condition on the label, whose embedding is concatenated to the latents."""
    style_dim: PositiveInt = 512
    """Length of a style vector w, and units of the mapping network's layers."""
    mapping_layers: PositiveInt | None = None
    """Layers of the mapping network; default: 2, paper256: 8."""
    channel_base: PositiveInt | None = None
    """Channels of a layer times its size in pixels; default: 16384, from 512 pixels on 32768."""
    max_channels: PositiveInt = 512
    """Largest number of channels of a layer."""
    style_mixing: float | None = Field(default=None, ge=0, le=1)
    """Share of training images that get a second style from a random layer on; default: 0.9, cifar: 0."""
    mean_decay: float = Field(default=0.995, ge=0, lt=1)
    """Share of the mean style w̄ that each minibatch keeps."""
    activation_limit: PositiveFloat = 256.0
    """Activations are kept in ± this, times the gain of their layer."""
    output: Literal["linear", "tanh"] = "linear"
    """"linear": as in the paper; "tanh": for images that are mostly black or white: on MNIST, narrow networks made all
    digits with it, and without it, early in training, only one kind of shape."""
    modulation: Literal["auto", "grouped", "scaled"] = "auto"
    """"grouped": compute modulated convolutions with weights for each image, in groups; "scaled": by scaling inputs and
    outputs; the results are the same up to rounding. auto: the faster one on the device."""
    sampling: StyleSamplingOptions = StyleSamplingOptions()
    """How a trained generator makes images; no effect in training."""

    small_options: ClassVar[dict[str, Any]] = {"style_dim": 16, "channel_base": 128, "max_channels": 8}

    @property
    def uses(self) -> frozenset[str]:
        """The labels, if conditional."""
        return frozenset({"labels"} if self.conditional else ())

    @property
    def mapping_depth(self) -> int:
        """Layers of the mapping."""
        return self.mapping_layers or MAPPING_LAYERS[self.preset]

    @property
    def mixing_probability(self) -> float:
        """Share of images with two styles in training."""
        return STYLE_MIXING[self.preset] if self.style_mixing is None else self.style_mixing

    def channels(self, resolution: int, size: int) -> int:
        """Return the channels of the layers of a resolution, in a network for images of `size` pixels."""
        return channels_at(self.channel_base, self.max_channels, resolution, size)

    def check_info(self, info: DatasetInfo) -> None:
        """Raise ValueError unless the images are square and of 8 to 1024 pixels, a power of 2."""
        check_size(info)


class StyleGAN2DiscriminatorConfig(DiscriminatorConfig):
    """Residual blocks with filtered downsampling and minibatch standard deviation (StyleGAN2, arXiv 1912.04958)."""

    preset: Preset = "auto"
    """The authors' configuration that sets the defaults of the options below."""
    conditional: bool = False
    """Judge whether the image fits its label, by an inner product with the label's embedding."""
    skips: bool | None = None
    """Whether each block has a 1×1 convolution as its skip connection; default: true, cifar: false."""
    channel_base: PositiveInt | None = None
    """Channels of a layer times its size in pixels; default: 16384, from 512 pixels on 32768."""
    max_channels: PositiveInt = 512
    """Largest number of channels of a layer."""
    minibatch_stddev: NonNegativeInt | None = None
    """Size of the groups whose minibatch standard deviation the last layers see; 0: none; default: 4, cifar: 32,
    paper256: 8."""
    label_layers: PositiveInt = 8
    """Layers of the mapping from labels to embeddings."""
    activation_limit: PositiveFloat = 256.0
    """Activations are kept in ± this, times the gain of their layer."""

    small_options: ClassVar[dict[str, Any]] = {"channel_base": 128, "max_channels": 8}

    @property
    def uses(self) -> frozenset[str]:
        """The labels, if conditional."""
        return frozenset({"labels"} if self.conditional else ())

    @property
    def residual(self) -> bool:
        """Whether blocks have a convolution beside them."""
        return self.preset != "cifar" if self.skips is None else self.skips

    @property
    def group(self) -> int:
        """Images in a group of the minibatch's deviation."""
        return MINIBATCH_STDDEV[self.preset] if self.minibatch_stddev is None else self.minibatch_stddev

    @property
    def judged_together(self) -> int:
        """Images in a group of the minibatch's deviation; 1 without it."""
        return max(self.group, 1)

    def channels(self, resolution: int, size: int) -> int:
        """Return the channels of the layers of a resolution, in a network for images of `size` pixels."""
        return channels_at(self.channel_base, self.max_channels, resolution, size)

    def check_info(self, info: DatasetInfo) -> None:
        """Raise ValueError unless the images are square and of 8 to 1024 pixels, a power of 2."""
        check_size(info)


class PathLengthConfig(PenaltyConfig):
    """Path length regularization: a step in the space of styles changes the image by a constant length (StyleGAN2,
    arXiv 1912.04958, §3.2)."""

    weight: Scheduled[NonNegativeFloat] = 2.0
    """γ_pl of the authors' code."""
    interval: PositiveInt = 4
    """Compute it at every n-th step only, with n times the weight."""
    own_update: bool = True
    """Apply it in a separate update, and lower the rates of the generator's optimizer accordingly."""
    decay: float = Field(default=0.01, gt=0, le=1)
    """Share of each minibatch in the running mean of the lengths, which is their target."""
    batch_share: float = Field(default=0.5, gt=0, le=1)
    """Share of the minibatch that it is computed on, to save memory; rounded to whole images in each process."""

    @property
    def differentiates_twice(self) -> bool:
        """True: it differentiates the generator."""
        return True

    mixes_batch: ClassVar[bool] = True
    """True: the target moves with each minibatch."""

    def check_parts(self, parts: Mapping[str, ComponentConfig]) -> None:
        """Raise ValueError unless the generator has styles."""
        if not isinstance(parts["generator"], StyleGAN2GeneratorConfig):
            raise ValueError('needs a generator with styles: "stylegan2"')


class ADAConfig(AdaptiveConfig):
    """The authors' augmentation, with a probability that their feedback sets (ADA, arXiv 2006.06676, appendix B)."""

    pipeline: Literal["b", "bg", "bgc"] = "bgc"
    """Kinds of transformations: b, pixel blitting (mirrored, rotated by 90°, shifted by whole pixels); g, general
    geometry (scaled, rotated, stretched, shifted); c, colors."""
    max_probability: float = Field(default=1.0, ge=0, le=1)
    """Upper limit of the probability."""

    augments: ClassVar[bool] = True
    """True: real and generated images alike."""

    def check_info(self, info: DatasetInfo) -> None:
        """Raise ValueError unless the samples are images of 8 pixels or more, gray or RGB where colors change."""
        if min(info.image.height, info.image.width) < SIZES[0]:
            raise ValueError(f"filters images of {SIZES[0]} pixels or more: set dataset.image_size")
        if "c" in self.pipeline and info.image.channels not in (1, 3):
            raise ValueError(f'changes colors of gray or RGB images, not of {info.image.channels} channels: take "bg"')


class StyleGAN2PickleConfig(ImporterConfig):
    """A pickle of StyleGAN2-ADA's authors (`network-snapshot-….pkl`, `ffhq.pkl`), read without running code from it."""


def channels_at(base: int | None, most: int, resolution: int, size: int) -> int:
    """Return the channels at a resolution: `base` divided by it, and `most` at most."""
    if base is None:
        base = 32768 if size >= 512 else 16384
    return max(1, min(base // resolution, most))


def check_size(info: DatasetInfo) -> None:
    """Raise ValueError unless such images can be made and judged."""
    size = square_size(info.image)
    if size not in SIZES:
        raise ValueError(f"cannot make {size} pixels: set dataset.image_size to one of {', '.join(map(str, SIZES))}")
