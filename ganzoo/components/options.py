"""Options of components, validated before anything heavy is imported.

They are separate from the components' base classes, because these need torch and a recipe is checked without it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, NonNegativeFloat, PositiveFloat, PositiveInt

from ganzoo.components.descriptions import descriptions
from ganzoo.components.spec import DatasetInfo, ImageSpec

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer


class Options(BaseModel):
    """A table of a recipe: frozen, without unknown keys, each field documented by the text under it.

    By default pydantic reads those texts and builds the validator when a class is defined; here both are deferred,
    since every command defines the classes of every installed plugin.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True, allow_inf_nan=False)

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Return the JSON schema, with the text under each field as its description."""
        schema = handler(core_schema)
        properties = handler.resolve_ref_schema(schema).get("properties", {})
        for name, text in descriptions(cls).items():
            properties[cls.model_fields[name].alias or name].setdefault("description", text)
        return schema


class ComponentConfig(Options):
    """Base class of the options of a component."""

    name: str = ""
    """The name under which the component is registered."""

    @property
    def uses(self) -> frozenset[str]:
        """Which of "labels" and "condition" the component needs from the dataset; none unless overridden."""
        return frozenset()

    @property
    def differentiates_twice(self) -> bool:
        """Whether training takes second derivatives, which torch.compile cannot; a component that does overrides it."""
        return False

    def check_info(self, info: DatasetInfo) -> None:
        """Check that these options suit images of this kind.

        Raises:
            ValueError: they do not; the text says why, and which values would.
        """


class GeneratorConfig(ComponentConfig):
    """Options that every generator has."""

    latent_dim: PositiveInt = 100
    """How many numbers one latent vector holds."""


class DiscriminatorConfig(ComponentConfig):
    """Options that every discriminator has: none."""

    @property
    def mixes_batch(self) -> bool:
        """Whether the logit of an image depends on the others in its minibatch, as with batch norm.

        By default true where an option `norm` is "batch"; a discriminator that always has batch norm overrides this.
        """
        return getattr(self, "norm", None) == "batch"

    @property
    def has_spectral_norm(self) -> bool:
        """Whether spectral norm makes the network Lipschitz; a network with it overrides this."""
        return False


class LossConfig(ComponentConfig):
    """Options that every loss has: none."""


class PenaltyConfig(ComponentConfig):
    """Options that every penalty has."""

    weight: float = Field(default=1.0, ge=0)
    """What the penalty's terms are multiplied with."""
    interval: PositiveInt = 1
    """Take the terms at every n-th step only, n times as strong (lazy regularization, StyleGAN2 §4)."""

    @property
    def is_gradient_penalty(self) -> bool:
        """Whether the term depends on the gradient of single logits; a gradient penalty overrides this."""
        return False

    @property
    def differentiates_twice(self) -> bool:
        """True of a gradient penalty."""
        return self.is_gradient_penalty


class DatasetConfig(ComponentConfig):
    """Options that every dataset has: how an image is brought to its final size."""

    root: str = "data"
    """Folder that holds the dataset, relative to the working directory."""
    image_size: PositiveInt = 64
    """Height and width of the images that the networks see, in pixels."""
    channels: Literal[1, 3] = 3
    """1 for gray, 3 for RGB; images of the other kind are converted."""
    resize_first: PositiveInt | None = None
    """Bring the shorter side to this many pixels before the crop; left out: no resize before the crop."""
    crop: PositiveInt | Literal["square", "none"] = "square"
    """Center crop: a side in pixels, "square" for the largest that fits, "none" to squeeze the whole image."""
    resize: Literal["bilinear", "bicubic", "lanczos", "box", "nearest"] = "bilinear"
    """Filter of every resize (PIL's, which averages over the whole footprint when it shrinks)."""
    fast_decode: bool = False
    """Decode JPEGs at a half, quarter or eighth of their size where they are shrunk further still: up to five times
    as fast, and pixels that differ slightly, at most by 1.5 of 255 on average; where nothing is shrunk, none do."""
    placement: Literal["auto", "device", "host"] = "auto"
    """Where the pixels wait: whole on the device, or on the host, pinned and read ahead for a GPU; auto: on the
    device where it is a GPU and half of its free memory suffices."""
    horizontal_flip: bool = False
    """Mirror half of the images at random while training."""
    max_bad_fraction: float = Field(default=0.0, ge=0, lt=1)
    """Share of unreadable images to leave out (and list) rather than stop for."""

    @property
    def has_labels(self) -> bool | None:
        """Whether the dataset has labels; None unless overridden: known only after `prepare`."""
        return None

    def image_spec(self) -> ImageSpec:
        """Return the shape of every image of this dataset."""
        return ImageSpec(self.channels, self.image_size, self.image_size)


class ImporterConfig(ComponentConfig):
    """Options that every importer has: none."""


class ExtractorConfig(ComponentConfig):
    """Options that every extractor of features has: none."""


class MetricConfig(ComponentConfig):
    """Options that every metric has: none."""


class OptimizerConfig(ComponentConfig):
    """Options that every optimizer has, and how it is built: an optimizer is registered by its config alone."""

    lr: PositiveFloat = 2e-4
    """Learning rate."""
    weight_decay: NonNegativeFloat = 0.0
    """L2 coupled to the gradient (decoupled from it where the optimizer says so), on every parameter."""

    def build(self, parameters: Iterable[Tensor]) -> Optimizer:
        """Build the torch optimizer over `parameters`.

        One that takes no step where the tensor `self.found_inf` is 1, without looking at it on the host, says so by
        `_step_supports_amp_scaling = True`, as torch's fused ones do; the weights of any other are put back.
        """
        raise NotImplementedError


class ObserverConfig(ComponentConfig):
    """Options that every observer has: none."""


class TrackerConfig(ComponentConfig):
    """Options that every tracker has: none."""

    by_default: ClassVar[bool] = False
    """Whether it tracks runs whose recipe has no table for it."""

    @property
    def enabled(self) -> bool:
        """Whether it tracks at all; a tracker that can be turned off overrides this."""
        return True


class TrainerConfig(ComponentConfig):
    """Options that every trainer has."""

    batch_size: PositiveInt = 128
    """Images in a minibatch, over all processes together."""

    @property
    def batches_per_step(self) -> int:
        """Number of minibatches of real images in a step; `Trainer.train_step` gets them as one batch."""
        return 1

    @property
    def scales_loss(self) -> bool:
        """Whether the trainer scales losses under fp16 (`TrainingParts.loss_scaling`); one that does overrides this."""
        return False
