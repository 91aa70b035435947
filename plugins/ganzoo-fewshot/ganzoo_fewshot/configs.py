"""The options of the networks, the loss, the penalty and the trainer, without torch."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from ganzoo.plugin import (
    DatasetInfo,
    DiscriminatorConfig,
    GANTrainerConfig,
    GeneratorConfig,
    LossConfig,
    PenaltyConfig,
    square_size,
)

SIZES = (64, 128, 256, 512, 1024)
SMALL_SIZE = 128
"""Pixels of the discriminator's second scale; half of the image where that has no more."""
MAP_SIDES = (8, 16)
"""Sides of the feature maps that `reconstruction` decodes: whole, and a quarter of it."""


class FastGANGeneratorConfig(GeneratorConfig):
    """FastGAN's generator (arXiv 2101.04775), for 100 to 1,000 images of 64 to 1024 pixels."""

    latent_dim: PositiveInt = 256
    """Length of a latent vector."""
    width: PositiveInt = 64
    """Channels at 128 pixels; twice as many at 64 and 32, then 4, 8 and 16 times; half at 256, and so on."""
    normalize_latents: bool = True
    """Scale each latent vector to a mean square of 1."""
    noise: bool = True
    """Add noise to the maps of every other block in training, with a learned strength."""
    small_output: bool = False
    """Also make a small image, of 128 pixels at most, for the trainer `fastgan`."""

    def check_info(self, info: DatasetInfo) -> None:
        """Raise ValueError unless the images are square and of 64, 128, …, 1024 pixels."""
        check_size(info)


class FastGANDiscriminatorConfig(DiscriminatorConfig):
    """FastGAN's discriminator of two scales, with spectral and batch norm (arXiv 2101.04775)."""

    width: PositiveInt = 64
    """Channels of a feature map of 64 pixels; they double as the size halves."""

    @property
    def mixes_batch(self) -> bool:
        """True: it has batch norm."""
        return True

    has_spectral_norm: ClassVar[bool] = True
    """In each convolution."""

    def check_info(self, info: DatasetInfo) -> None:
        """Raise ValueError unless the images are square and of 64, 128, …, 1024 pixels."""
        check_size(info)


class ProjectedDiscriminatorConfig(DiscriminatorConfig):
    """Projected GAN's discriminator (arXiv 2111.01007): small ones on the frozen features of a trained classifier."""

    model: str = "efficientnet_b0"
    """The classifier, as torchvision names it, such as "resnet18"; one whose feature maps halve from layer to layer."""
    weights: str = "DEFAULT"
    """Name of torchvision's weights, downloaded on first use; or a file, `.pth` or `.safetensors`; or "random"."""
    seed: NonNegativeInt = 0
    """Seed of random weights."""
    input_size: int | None = Field(default=None, ge=64, multiple_of=32)
    """Side in pixels to which images are resized; default: 224, or their own if that is larger."""
    width: PositiveInt = 64
    """Channels of the random projection of the largest features; it doubles from scale to scale. Those of the small
    discriminators are in proportion."""

    small_options: ClassVar[dict[str, Any]] = {"model": "shufflenet_v2_x0_5", "weights": "random", "input_size": 64}

    @property
    def mixes_batch(self) -> bool:
        """True: what learns has batch norm."""
        return True

    def check_info(self, info: DatasetInfo) -> None:
        """Raise ValueError unless the images are square, gray or RGB, and fit the classifier without a resize."""
        size = square_size(info.image)
        if info.image.channels not in (1, 3):
            raise ValueError(f"was trained on gray or RGB images, and these are {info.image}")
        if self.input_size is None and size > 224 and size % 32:
            raise ValueError(f"halves images five times, and {size} pixels are no multiple of 32: set input_size")


class UniformHingeConfig(LossConfig):
    """The hinge loss with targets uniform in [0.8, 1], as FastGAN has it (arXiv 2101.04775)."""

    low: float = Field(default=0.8, ge=0)
    """The lowest target."""
    high: float = Field(default=1.0, gt=0)
    """The highest target."""

    @model_validator(mode="after")
    def _targets_have_a_range(self) -> UniformHingeConfig:
        if self.low >= self.high:
            raise ValueError(f"low = {self.low} must be less than high = {self.high}")
        return self


class ReconstructionConfig(PenaltyConfig):
    """FastGAN's self-supervision (arXiv 2101.04775): decoders reconstruct real images from the discriminator's
    features.

    Decodes each of its 8×8 maps, and a random quarter of the last of 16×16.
    """

    width: PositiveInt = 32
    """Channels of a decoder's maps of 128 pixels; twice as many at 64 and 32, four times at 16."""
    distance: Literal["pixels", "perceptual"] = "pixels"
    """Distance between reconstructed and real images: the mean absolute difference of pixels, or of features of a
    VGG-16."""
    vgg_weights: str = "DEFAULT"
    """Weights of that VGG-16: a name of torchvision's, downloaded on first use; or a file; or "random"."""

    def check_info(self, info: DatasetInfo) -> None:
        """Raise ValueError unless the samples are square images."""
        size = square_size(info.image)
        if size % 16 or (size // 8) & (size // 8 - 1):
            raise ValueError(f"rebuilds images of 16, 32, 64, … pixels, not {size}")
        if self.distance == "perceptual" and info.image.channels not in (1, 3):
            raise ValueError('distance = "perceptual" is for gray or RGB images: set "pixels"')


class FastGANTrainerConfig(GANTrainerConfig):
    """`adversarial`, with the generator's small images for FastGAN's second scale (arXiv 2101.04775)."""

    batch_size: PositiveInt = 8
    """Images in a minibatch, over all processes together."""
    ema_decay: float = Field(default=0.999, ge=0, lt=1)
    """Decay of an exponential moving average of the generator's weights; 0: no average, unless `ema_half_life` is
    set."""
    ema_buffers: Literal["average", "copy"] = "copy"
    """Average the statistics of batch norm too, or copy them, as the paper's authors do."""


def check_size(info: DatasetInfo) -> None:
    """Raise ValueError unless FastGAN makes images of this size."""
    size = square_size(info.image)
    if size not in SIZES:
        raise ValueError(f"has no layers for {size} pixels: set dataset.image_size to {', '.join(map(str, SIZES))}")
