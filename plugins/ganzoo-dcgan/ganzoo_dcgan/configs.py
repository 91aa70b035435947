"""The options of the DCGAN variants, and which image sizes they can make."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from ganzoo.plugin import DatasetInfo, DiscriminatorConfig, GeneratorConfig, ImageSpec, Options, square_size

NormName = Literal["batch", "instance", "layer", "none"]
PriorName = Literal["normal", "uniform"]
UpsamplingName = Literal["transposed", "nearest"]
POWERS = (16, 32, 64, 128, 256)


class InitOptions(Options):
    """Initialization of the weights; the paper has N(0, 0.02) for all of them."""

    weight_std: PositiveFloat = 0.02
    """Standard deviation of the weights of convolutions and dense layers, whose mean is 0."""
    norm_mean: float = Field(default=1.0, ge=-1000, le=1000)
    """Mean of the gains of batch norm: 1 in the authors' code, 0 if the paper is taken literally."""
    norm_std: NonNegativeFloat = 0.02
    """Standard deviation of these gains; batch norm's biases start at 0."""
    bias: Literal["zero", "torch"] = "zero"
    """Biases of convolutions and dense layers: 0, or torch's own initialization."""


class DCGANGeneratorConfig(GeneratorConfig):
    """Transposed 4×4 convolutions from 1×1 to the image; channels halve as the size doubles."""

    width: PositiveInt = 64
    """Half the channels before the last layer, which gives 1024 at the 4×4 start of a 64-pixel image."""
    max_channels: PositiveInt = 1024
    """Largest number of channels of a layer; matters at 128 pixels and more."""
    norm: NormName = "batch"
    """Normalization of every layer but the last."""
    edge_bias: bool = True
    """Whether the last layer, which has no norm, has a bias; PyTorch's tutorial has none."""
    upsampling: UpsamplingName = "transposed"
    """How the size doubles: by the paper's transposed convolutions, or "nearest": each pixel is repeated and then
    convolved with 3×3 in place of 4×4, which leaves no checkerboard and costs 2.25 times as much."""
    init: InitOptions = InitOptions()
    """Initialization of the weights."""

    def check_info(self, info: DatasetInfo) -> None:
        """Raise ValueError unless the images are square and of 16, 32, 64, 128 or 256 pixels."""
        check_power_of_two(info)


class DCGANDiscriminatorConfig(DiscriminatorConfig):
    """4×4 convolutions from the image to one logit; channels double as the size halves."""

    width: PositiveInt = 64
    """Channels of the first layer."""
    max_channels: PositiveInt = 1024
    """Largest number of channels of a layer; matters at 256 pixels."""
    norm: NormName = "batch"
    """Normalization of every layer but the first and the last; "none" or "layer" for a critic with gradient penalty."""
    edge_bias: bool = True
    """Whether the first and the last layer, which have no norm, have biases; PyTorch's tutorial has none."""
    slope: float = Field(default=0.2, ge=0, lt=1)
    """Slope of LeakyReLU below 0."""
    init: InitOptions = InitOptions()
    """Initialization of the weights."""

    def check_info(self, info: DatasetInfo) -> None:
        """Raise ValueError unless the images are square and of 16, 32, 64, 128 or 256 pixels."""
        check_power_of_two(info)


class DenseGeneratorConfig(GeneratorConfig):
    """A dense projection to a sixteenth of the size, then four transposed 5×5 convolutions."""

    width: PositiveInt = 128
    """Channels before the last layer; the projection has eight times as many."""
    norm: NormName = "batch"
    """Normalization of the projection and of every layer but the last."""
    upsampling: UpsamplingName = "transposed"
    """How the size doubles: by the paper's transposed convolutions, or "nearest": each pixel is repeated and then
    convolved with 5×5, which leaves no checkerboard and costs four times as much."""
    init: InitOptions = InitOptions()
    """Initialization of the weights."""

    def check_info(self, info: DatasetInfo) -> None:
        """Raise ValueError unless the images are square and a multiple of 16 pixels, or for a norm of one pixel."""
        check_multiple(info, 16)
        check_dense_norm(self.norm, info)


class DenseDiscriminatorConfig(DiscriminatorConfig):
    """Four 5×5 convolutions, then a dense layer to one logit."""

    width: PositiveInt = 128
    """Channels of the first layer; they double three times."""
    norm: NormName = "batch"
    """Normalization of every convolution but the first."""
    slope: float = Field(default=0.2, ge=0, lt=1)
    """Slope of LeakyReLU below 0."""
    init: InitOptions = InitOptions()
    """Initialization of the weights."""

    def check_info(self, info: DatasetInfo) -> None:
        """Raise ValueError unless the images are square and a multiple of 16 pixels, or for a norm of one pixel."""
        check_multiple(info, 16)
        check_dense_norm(self.norm, info)


def check_dense_norm(norm: NormName, info: DatasetInfo) -> None:
    """Raise ValueError for instance norm where the smallest maps have one pixel, whose deviation is 0."""
    if norm == "instance" and info.image.height == 16:
        raise ValueError(
            'has instance norm over single pixels at 16 pixels: set norm to "batch", "layer" or "none", '
            "or dataset.image_size to 32 or more"
        )


class Radford2016GeneratorConfig(GeneratorConfig):
    """5×5 convolutions without biases, as the DCGAN authors trained it: 1024, 512, 256, 128 channels at 64 pixels."""

    latents: PriorName = "uniform"
    """Distribution of the latents: U(−1, 1) as for faces and bedrooms, or N(0, 1) as for SVHN."""
    width: PositiveInt = 128
    """Channels before the last layer; they double towards the 4×4 start. The authors had 64 at 32 pixels."""
    init: InitOptions = InitOptions()
    """Initialization of the weights."""

    def check_info(self, info: DatasetInfo) -> None:
        """Raise ValueError unless the images are square and of 16, 32, 64, 128 or 256 pixels."""
        check_power_of_two(info)


class Radford2016DiscriminatorConfig(DiscriminatorConfig):
    """5×5 convolutions without biases, as the DCGAN authors trained it: 128, 256, 512, 1024 channels at 64 pixels."""

    width: PositiveInt = 128
    """Channels of the first layer; they double with each. The authors had 64 at 32 pixels."""
    slope: float = Field(default=0.2, ge=0, lt=1)
    """Slope of LeakyReLU below 0."""
    init: InitOptions = InitOptions()
    """Initialization of the weights."""

    @property
    def mixes_batch(self) -> bool:
        """It always has batch norm."""
        return True

    def check_info(self, info: DatasetInfo) -> None:
        """Raise ValueError unless the images are square and of 16, 32, 64, 128 or 256 pixels."""
        check_power_of_two(info)


class Radford2016ImageNetGeneratorConfig(Radford2016GeneratorConfig):
    """3×3 convolutions without biases, two for each size, as the DCGAN authors trained it on ImageNet at 32 pixels."""

    latent_dim: PositiveInt = 256
    """Length of a latent vector."""
    latents: PriorName = "uniform"
    """Distribution of the latents: U(−1, 1) or N(0, 1)."""
    width: PositiveInt = 128
    """Channels before the last layer; they double from size to size towards the 4×4 start."""


class Radford2016ImageNetDiscriminatorConfig(Radford2016DiscriminatorConfig):
    """3×3 convolutions without biases, two for each size, as the DCGAN authors trained it on ImageNet at 32 pixels."""

    width: PositiveInt = 128
    """Channels of the first two layers; they double from size to size."""


class Radford2016MNISTGeneratorConfig(GeneratorConfig):
    """Labels at every layer, as the DCGAN authors trained it on MNIST: two dense layers, then two 5×5 convolutions."""

    latents: PriorName = "uniform"
    """Distribution of the latents: U(−1, 1) or N(0, 1)."""
    width: PositiveInt = 64
    """Channels before the last layer; twice as many before that."""
    dense_width: PositiveInt = 1024
    """Units of the first layer."""
    init: InitOptions = InitOptions()
    """Initialization of the weights; the batch norms of this network have none."""

    uses: ClassVar[frozenset[str]] = frozenset({"labels"})

    def check_info(self, info: DatasetInfo) -> None:
        """Raise ValueError unless the images are square and a multiple of 4 pixels."""
        check_multiple(info, 4)


class Radford2016MNISTDiscriminatorConfig(DiscriminatorConfig):
    """Labels at every layer, as the DCGAN authors trained it on MNIST: two 5×5 convolutions, then two dense layers."""

    width: PositiveInt = 64
    """Channels of the first layer; twice as many in the second."""
    dense_width: PositiveInt = 1024
    """Units of the last layer before the logit."""
    slope: float = Field(default=0.2, ge=0, lt=1)
    """Slope of LeakyReLU below 0."""
    init: InitOptions = InitOptions()
    """Initialization of the weights; the batch norms of this network have none."""

    @property
    def mixes_batch(self) -> bool:
        """It always has batch norm."""
        return True

    uses: ClassVar[frozenset[str]] = frozenset({"labels"})

    def check_info(self, info: DatasetInfo) -> None:
        """Raise ValueError unless the images are square and a multiple of 4 pixels."""
        check_multiple(info, 4)


class GANInActionGeneratorConfig(GeneratorConfig):
    """The Keras DCGAN of the book "GANs in Action", ch. 4: a dense layer, then three transposed 3×3 convolutions."""

    width: PositiveInt = 64
    """Channels before the last layer; twice and four times as many before that."""
    slope: float = Field(default=0.01, ge=0, lt=1)
    """Slope of LeakyReLU below 0."""

    def check_info(self, info: DatasetInfo) -> None:
        """Raise ValueError unless the images are square and a multiple of 4 pixels."""
        check_multiple(info, 4)


class GANInActionDiscriminatorConfig(DiscriminatorConfig):
    """The Keras DCGAN of "GANs in Action", ch. 4, in a reader's version: three 3×3 convolutions and a dense layer."""

    width: PositiveInt = 32
    """Channels of the first layer; they double twice."""
    norm: Literal["none", "batch"] = "none"
    """Normalization of the second and the third convolution: "none" as in a reader's version of the book's code,
    "batch" as in the book's notebook."""
    slope: float = Field(default=0.01, ge=0, lt=1)
    """Slope of LeakyReLU below 0."""


class GANGeneratorConfig(GeneratorConfig):
    """The plain GAN of dense layers, a baseline for DCGAN; by default one hidden layer, as in "GANs in Action"."""

    hidden: tuple[PositiveInt, ...] = Field(default=(128,), min_length=1)
    """Units of the hidden layers, first to last."""
    slope: float = Field(default=0.01, ge=0, lt=1)
    """Slope of LeakyReLU below 0; 0: ReLU."""


class GANDiscriminatorConfig(DiscriminatorConfig):
    """The plain GAN of dense layers, a baseline for DCGAN; by default one hidden layer, as in "GANs in Action"."""

    hidden: tuple[PositiveInt, ...] = Field(default=(128,), min_length=1)
    """Units of the hidden layers, first to last."""
    slope: float = Field(default=0.01, ge=0, lt=1)
    """Slope of LeakyReLU below 0; 0: ReLU."""


class PatchGANDiscriminatorConfig(DiscriminatorConfig):
    """pix2pix's discriminator (arXiv 1611.07004): 4×4 convolutions to a map of logits, one for each 70×70 patch."""

    width: PositiveInt = 64
    """Channels of the first layer; they double with each, to eight times as many at most."""
    depth: int = Field(default=3, ge=1, le=6)
    """Layers of stride 2; a logit sees 16 pixels across for 1, 34 for 2, 70 for 3, 142 for 4, 286 for 5."""
    norm: NormName = "batch"
    """Normalization of every layer but the first and the last: "batch" as in pix2pix, "instance" as in CycleGAN."""
    slope: float = Field(default=0.2, ge=0, lt=1)
    """Slope of LeakyReLU below 0."""
    conditional: bool = False
    """Judge an image beside its condition, such as the outlines that it was made from."""
    init: InitOptions = InitOptions()
    """Initialization of the weights."""

    @property
    def uses(self) -> frozenset[str]:
        """The condition if `conditional`."""
        return frozenset({"condition"}) if self.conditional else frozenset()

    def check_info(self, info: DatasetInfo) -> None:
        """Raise ValueError unless the image is large enough, and the condition is an image of its size."""
        image, least = info.image, 3 * 2**self.depth
        if min(image.height, image.width) < least:
            raise ValueError(
                f"of depth {self.depth} needs images of {least} pixels or more, and these are "
                f"{image.height}×{image.width}: lower its depth or set dataset.image_size"
            )
        if self.conditional and info.condition is not None:
            size = (image.height, image.width)
            if not isinstance(info.condition, ImageSpec) or info.condition.shape[1:] != size:
                raise ValueError(
                    f"needs a condition of {image.height}×{image.width} pixels, and it is {info.condition}"
                )


def check_power_of_two(info: DatasetInfo) -> None:
    """Raise ValueError unless 4×4 doubled a whole number of times gives the image."""
    size = square_size(info.image)
    if size not in POWERS:
        sizes = ", ".join(map(str, POWERS))
        other = "" if size % 16 else ", or take dcgan_dense"
        raise ValueError(f"cannot make {size} pixels: set dataset.image_size to one of {sizes}{other}")


def check_multiple(info: DatasetInfo, factor: int) -> None:
    """Raise ValueError unless the images are square and a multiple of `factor` pixels."""
    size = square_size(info.image)
    if size % factor:
        below, above = size // factor * factor, size // factor * factor + factor
        nearest = f"{below} or {above}" if below else str(above)
        raise ValueError(
            f"cannot make {size} pixels: set dataset.image_size to a multiple of {factor}, such as {nearest}"
        )
