"""The options of the DCGAN variants, and which image sizes they can make."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from ganzoo.components.component import DiscriminatorConfig, GeneratorConfig, Options
from ganzoo.images import Facts, square_size

NormName = Literal["batch", "instance", "layer", "none"]
POWERS = (16, 32, 64, 128, 256)


class InitOptions(Options):
    """How weights start. The paper says N(0, 0.02) for all of them."""

    weight_std: PositiveFloat = 0.02
    """Deviation of convolutions and dense layers around 0; their biases start at 0."""
    norm_mean: float = 1.0
    """Mean of the gains of batch norm: 1 in the authors' code, 0 where the paper is taken at its word."""
    norm_std: NonNegativeFloat = 0.02
    """Deviation of these gains; their biases start at 0."""


class DCGANGeneratorConfig(GeneratorConfig):
    """Transposed 4×4 convolutions from 1×1 to the image; channels halve as the size doubles."""

    width: PositiveInt = 64
    """Half the channels before the last layer, which gives 1024 at the 4×4 start of a 64-pixel image."""
    max_channels: PositiveInt = 1024
    """No layer has more; matters at 128 pixels and more."""
    norm: NormName = "batch"
    """Normalisation of every layer but the last."""
    init: InitOptions = InitOptions()
    """How weights start."""

    def check_facts(self, facts: Facts) -> None:
        """Raise ValueError unless the images are square and of 16, 32, 64, 128 or 256 pixels."""
        check_power_of_two(facts)


class DCGANDiscriminatorConfig(DiscriminatorConfig):
    """4×4 convolutions from the image to one logit; channels double as the size halves."""

    width: PositiveInt = 64
    """Channels of the first layer."""
    max_channels: PositiveInt = 1024
    """No layer has more; matters at 256 pixels."""
    norm: NormName = "batch"
    """Normalisation of every layer but the first and the last; "none" or "layer" for a critic with gradient penalty."""
    slope: float = Field(default=0.2, ge=0, lt=1)
    """Slope of LeakyReLU below 0."""
    init: InitOptions = InitOptions()
    """How weights start."""

    def check_facts(self, facts: Facts) -> None:
        """Raise ValueError unless the images are square and of 16, 32, 64, 128 or 256 pixels."""
        check_power_of_two(facts)


class DenseGeneratorConfig(GeneratorConfig):
    """A dense projection to a sixteenth of the size, then four transposed 5×5 convolutions."""

    width: PositiveInt = 128
    """Channels before the last layer; the projection has eight times as many."""
    norm: NormName = "batch"
    """Normalisation of the projection and of every layer but the last."""
    init: InitOptions = InitOptions()
    """How weights start."""

    def check_facts(self, facts: Facts) -> None:
        """Raise ValueError unless the images are square and a multiple of 16 pixels."""
        check_multiple_of_16(facts)


class DenseDiscriminatorConfig(DiscriminatorConfig):
    """Four 5×5 convolutions, then a dense layer to one logit."""

    width: PositiveInt = 128
    """Channels of the first layer; they double three times."""
    norm: NormName = "batch"
    """Normalisation of every convolution but the first."""
    slope: float = Field(default=0.2, ge=0, lt=1)
    """Slope of LeakyReLU below 0."""
    init: InitOptions = InitOptions()
    """How weights start."""

    def check_facts(self, facts: Facts) -> None:
        """Raise ValueError unless the images are square and a multiple of 16 pixels."""
        check_multiple_of_16(facts)


def check_power_of_two(facts: Facts) -> None:
    """Raise ValueError unless 4×4 doubled a whole number of times gives the image."""
    size = square_size(facts.image)
    if size not in POWERS:
        sizes = ", ".join(map(str, POWERS))
        raise ValueError(f"cannot make {size} pixels: set dataset.image_size to one of {sizes}, or take dcgan_dense")


def check_multiple_of_16(facts: Facts) -> None:
    """Raise ValueError unless four halvings leave a whole number of pixels."""
    size = square_size(facts.image)
    if size % 16:
        below, above = size // 16 * 16, size // 16 * 16 + 16
        nearest = f"{below} or {above}" if below else str(above)
        raise ValueError(f"cannot make {size} pixels: set dataset.image_size to a multiple of 16, such as {nearest}")
