"""The options of the networks and heads, and which images they can make."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Self

from ganzoo_dcgan.configs import DCGANDiscriminatorConfig, DCGANGeneratorConfig, check_power_of_two
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from ganzoo.plugin import (
    ComponentConfig,
    DatasetInfo,
    DiscriminatorConfig,
    GeneratorConfig,
    ImageSpec,
    Options,
    PenaltyConfig,
    square_size,
)

RESNET_SIZES = (32, 64)


class SNGANDiscriminatorConfig(DiscriminatorConfig):
    """DCGAN's 4×4 convolutions with spectral norm and without batch norm (arXiv 1802.05957); goes with `hinge`."""

    width: PositiveInt = 64
    """Channels of the first layer; they double as the size halves."""
    max_channels: PositiveInt = 1024
    """Largest number of channels of a layer."""
    slope: float = Field(default=0.1, ge=0, lt=1)
    """Slope of LeakyReLU below 0."""
    minibatch_stddev: NonNegativeInt = 0
    """Size of the groups whose minibatch standard deviation the last layer sees (ProGAN, arXiv 1710.10196: 4); 0:
    none."""
    weight_std: PositiveFloat = 0.02
    """Standard deviation of the initial weights, before spectral normalization."""

    has_spectral_norm: ClassVar[bool] = True
    """In each layer."""

    @property
    def judged_together(self) -> int:
        """Images in a group of the minibatch standard deviation; 1 without it."""
        return max(self.minibatch_stddev, 1)

    def check_info(self, info: DatasetInfo) -> None:
        """Raise ValueError unless the images are square and of 16, 32, 64, 128 or 256 pixels."""
        check_power_of_two(info)


class ResNetGeneratorConfig(GeneratorConfig):
    """SNGAN's ResNet for 32 or 64 pixels (arXiv 1802.05957, appendix B.4)."""

    latent_dim: PositiveInt = 128
    """Length of a latent vector."""
    width: PositiveInt | None = None
    """Channels of every block at 32 pixels, of the last block at 64; default: the paper's, 256 and 64."""

    def check_info(self, info: DatasetInfo) -> None:
        """Raise ValueError unless the images are square and of 32 or 64 pixels."""
        check_resnet(info)


class ResNetDiscriminatorConfig(DiscriminatorConfig):
    """SNGAN's ResNet for 32 or 64 pixels, with spectral norm (arXiv 1802.05957, appendix B.4)."""

    width: PositiveInt | None = None
    """Channels of every block at 32 pixels, of the first block at 64; default: the paper's, 128 and 64."""

    has_spectral_norm: ClassVar[bool] = True
    """In each layer."""

    def check_info(self, info: DatasetInfo) -> None:
        """Raise ValueError unless the images are square and of 32 or 64 pixels."""
        check_resnet(info)


class ProjectionGeneratorConfig(ResNetGeneratorConfig):
    """`sngan_resnet` with a gain and a bias of batch norm for each class (arXiv 1802.05637)."""

    uses: ClassVar[frozenset[str]] = frozenset({"labels"})


class ProjectionDiscriminatorConfig(ResNetDiscriminatorConfig):
    """`sngan_resnet` with an inner product of its features and a vector for each class (arXiv 1802.05637)."""

    uses: ClassVar[frozenset[str]] = frozenset({"labels"})


class SAGANGeneratorConfig(GeneratorConfig):
    """DCGAN's 4×4 blocks with spectral norm, batch norm and one layer of self-attention (arXiv 1805.08318)."""

    latent_dim: PositiveInt = 128
    """Length of a latent vector."""
    width: PositiveInt = 64
    """Half the channels before the last layer; they double towards the 4×4 start."""
    max_channels: PositiveInt = 1024
    """Largest number of channels of a layer."""
    attention_size: PositiveInt = 32
    """Height and width of the feature map that self-attention is applied to, smaller than the image: 4, 8, 16, …"""
    weight_std: PositiveFloat = 0.02
    """Standard deviation of the initial weights, before spectral normalization."""

    def check_info(self, info: DatasetInfo) -> None:
        """Raise ValueError unless the images can be made, and have a feature map of `attention_size`."""
        check_power_of_two(info)
        check_attention(self.attention_size, info)


class SAGANDiscriminatorConfig(DiscriminatorConfig):
    """DCGAN's 4×4 blocks with spectral norm and one layer of self-attention (arXiv 1805.08318)."""

    width: PositiveInt = 64
    """Channels of the first layer; they double as the size halves."""
    max_channels: PositiveInt = 1024
    """Largest number of channels of a layer."""
    slope: float = Field(default=0.1, ge=0, lt=1)
    """Slope of LeakyReLU below 0."""
    attention_size: PositiveInt = 32
    """Height and width of the feature map that self-attention is applied to, smaller than the image: 4, 8, 16, …"""
    weight_std: PositiveFloat = 0.02
    """Standard deviation of the initial weights, before spectral normalization."""

    has_spectral_norm: ClassVar[bool] = True
    """In each layer."""

    def check_info(self, info: DatasetInfo) -> None:
        """Raise ValueError unless the images can be judged, and have a feature map of `attention_size`."""
        check_power_of_two(info)
        check_attention(self.attention_size, info)


class CGANGeneratorConfig(DCGANGeneratorConfig):
    """`dcgan` with the one-hot label beside the latents (arXiv 1411.1784)."""

    uses: ClassVar[frozenset[str]] = frozenset({"labels"})


class CGANDiscriminatorConfig(DCGANDiscriminatorConfig):
    """`dcgan` with the one-hot label beside the channels of the image (arXiv 1411.1784)."""

    uses: ClassVar[frozenset[str]] = frozenset({"labels"})


class InfoGANGeneratorConfig(DCGANGeneratorConfig):
    """`dcgan` with codes as the first part of its latents (arXiv 1606.03657); goes with `mutual_information`."""

    categorical: tuple[PositiveInt, ...] = (10,)
    """Number of values of each categorical code; one-hot, in this order, at the beginning of the latents."""
    continuous: NonNegativeInt = 2
    """Number of continuous codes, U(−1, 1), after them; the rest of `latent_dim` is noise."""

    @property
    def code_dim(self) -> int:
        """How many numbers of a latent vector, from its beginning, are codes."""
        return sum(self.categorical) + self.continuous

    @model_validator(mode="after")
    def _codes_fit(self) -> Self:
        if not 0 < self.code_dim <= self.latent_dim:
            raise ValueError(f"codes take {self.code_dim} numbers; latent_dim = {self.latent_dim} wants 1 to so many")
        return self


class R3GANOptions(Options):
    """Options of both networks of R3GAN, which mirror each other."""

    width: PositiveInt = 768
    """Channels at sizes up to 32 pixels; half as many at each doubling beyond. With 768 the networks are the authors'
    presets: at 32 pixels CIFAR-10's, at 64 FFHQ-64's, at 256 FFHQ-256's, with 23 M parameters each."""
    widths: tuple[PositiveInt, ...] | None = Field(default=None, min_length=1)
    """Channels at each size in place of `width`, from the smallest to the image's."""
    group_width: PositiveInt = 16
    """Channels in a group of the 3×3 convolutions: 16 in all presets, as 96 groups of 1536 channels."""
    expansion: int = Field(default=2, ge=1, le=8)
    """Factor by which the 3×3 convolutions have more channels."""
    blocks: int = Field(default=2, ge=1, le=16)
    """Residual blocks at each size."""
    conditional: bool = False
    """Condition the network on the class."""

    @property
    def uses(self) -> frozenset[str]:
        """The labels if `conditional`."""
        return frozenset({"labels"} if self.conditional else ())

    def channels(self, image: ImageSpec) -> tuple[int, ...]:
        """Return the channels at each size, from the smallest, of 4 to 7 pixels, to the image's."""
        if self.widths is not None:
            return self.widths
        side = min(image.height, image.width)
        doublings = max((side // 4).bit_length() - 1, 0)
        sides = [side >> power for power in range(doublings, -1, -1)]
        return tuple(max(1, self.width >> max(0, (each // 32).bit_length() - 1)) for each in sides)

    def groups(self, channels: int) -> int:
        """Return the groups of the 3×3 convolution in a block of so many channels."""
        return max(1, channels * self.expansion // self.group_width)

    def check_info(self, info: DatasetInfo) -> None:
        """Raise ValueError unless a small size, doubled a whole number of times, gives the image, in whole groups."""
        image = info.image
        channels = self.channels(image)
        factor = 2 ** (len(channels) - 1)
        if image.height % factor or image.width % factor:
            raise ValueError(
                f"doubles a small image {len(channels) - 1} times, which cannot give {image.height}×{image.width} "
                f"pixels: set dataset.image_size to multiples of {factor}, or other widths"
            )
        for each in channels:
            inner = each * self.expansion
            if inner > self.group_width and inner % self.group_width:
                raise ValueError(
                    f"has {inner} channels in its 3×3 convolutions, which is no multiple of "
                    f"group_width = {self.group_width}: set another width, or a group_width that divides them"
                )


class R3GANGeneratorConfig(R3GANOptions, GeneratorConfig):
    """Residual blocks with grouped convolutions and no norm, from a learned 4×4 basis to the image (R3GAN,
    arXiv 2501.05441); goes with `relativistic_pairing`, `r1` and `r2`."""

    latent_dim: PositiveInt = 64
    """Length of a latent vector."""


class R3GANDiscriminatorConfig(R3GANOptions, DiscriminatorConfig):
    """The mirror image of R3GAN's generator (arXiv 2501.05441), with one logit; goes with `relativistic_pairing`, `r1`
    and `r2`."""


class AuxiliaryClassifierConfig(PenaltyConfig):
    """AC-GAN (arXiv 1610.09585): a classifier on the discriminator's features; needs a conditional generator."""

    on_generated: bool = True
    """Let the discriminator learn the class of generated images too, as the paper does."""

    uses: ClassVar[frozenset[str]] = frozenset({"labels"})

    def check_parts(self, parts: Mapping[str, ComponentConfig]) -> None:
        """Raise ValueError unless the generator is told the label."""
        if "labels" not in parts["generator"].uses:
            raise ValueError('needs a generator that is told the label, such as "cgan"')


class MutualInformationConfig(PenaltyConfig):
    """InfoGAN (arXiv 1606.03657): latent codes that can be recovered from the image; needs the generator `infogan`."""

    hidden: PositiveInt = 128
    """Units of the layer between the discriminator's features and the codes."""
    continuous_weight: float = Field(default=0.1, ge=0)
    """Weight of the continuous codes, whose loss is on another scale than that of the categorical ones."""

    def check_parts(self, parts: Mapping[str, ComponentConfig]) -> None:
        """Raise ValueError unless the generator has codes."""
        if not isinstance(parts["generator"], InfoGANGeneratorConfig):
            raise ValueError('needs a generator with codes in its latents: "infogan"')


def check_resnet(info: DatasetInfo) -> None:
    """Raise ValueError unless there is a ResNet for such images."""
    size = square_size(info.image)
    if size not in RESNET_SIZES:
        raise ValueError(f"cannot make {size} pixels: set dataset.image_size to 32 or 64")


def check_attention(size: int, info: DatasetInfo) -> None:
    """Raise ValueError unless the stack of blocks has a feature map of this size."""
    sizes = [4 * 2**power for power in range((info.image.height // 4).bit_length() - 1)]
    if size not in sizes:
        known = ", ".join(map(str, sizes))
        raise ValueError(f"has no feature map of {size} pixels: set attention_size to one of {known}")
