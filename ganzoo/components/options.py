"""What all components share: options that are validated before anything heavy is imported.

The config classes here stand apart from the contracts that use them, because those need torch
and a recipe is checked without it.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, PositiveInt

from ganzoo.components.descriptions import descriptions
from ganzoo.components.spec import DatasetInfo, ImageSpec


class Options(BaseModel):
    """A table of a recipe: frozen, without unknown keys, each field documented by the text under it.

    pydantic reads those texts, and builds the validator, when a class is made; here both wait until
    they are wanted, since every command makes the classes of every installed plugin.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True, allow_inf_nan=False)

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """The JSON schema, with the text under each field as its description."""
        schema = handler(core_schema)
        properties = handler.resolve_ref_schema(schema).get("properties", {})
        for name, text in descriptions(cls).items():
            properties[name].setdefault("description", text)
        return schema


class ComponentConfig(Options):
    """The options of a component; a component's own `Config` adds its fields to this."""

    name: str = ""
    """The name under which the component is registered."""

    @property
    def needs_labels(self) -> bool:
        """Whether it works with labeled images alone, as a conditional network does, which overrides this."""
        return False

    def check_info(self, info: DatasetInfo) -> None:
        """Say whether these options can serve such images.

        Raises:
            ValueError: they cannot; the text says why, and which values would do.
        """


class GeneratorConfig(ComponentConfig):
    """Options that every generator has."""

    latent_dim: PositiveInt = 100
    """How many numbers one latent vector holds."""


class DiscriminatorConfig(ComponentConfig):
    """Options that every discriminator has: none."""

    @property
    def mixes_batch(self) -> bool:
        """Whether the logit of an image depends on the others in its minibatch; batch norm does that.

        So it is where an option `norm` says "batch"; a discriminator that always has batch norm overrides this.
        """
        return getattr(self, "norm", None) == "batch"

    @property
    def has_spectral_norm(self) -> bool:
        """Whether its layers are under spectral norm, so that it is Lipschitz by itself; such a one overrides this."""
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
        """Whether its term is about the gradient of one image's logit, as a gradient penalty, which overrides this."""
        return False


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
        """Whether there will be labels; None, unless overridden: known only once the images are there."""
        return None

    def image_spec(self) -> ImageSpec:
        """The shape that every image of this dataset will have."""
        return ImageSpec(self.channels, self.image_size, self.image_size)


class ImporterConfig(ComponentConfig):
    """Options that every importer has: none."""


class ExtractorConfig(ComponentConfig):
    """Options that every extractor of features has: none."""


class TrainerConfig(ComponentConfig):
    """Options that every trainer has."""

    batch_size: PositiveInt = 128
    """Images in a minibatch, over all processes together."""

    @property
    def batches_per_step(self) -> int:
        """How many minibatches of real images one step takes; `Trainer.train_step` gets them as one batch."""
        return 1

    @property
    def scales_loss(self) -> bool:
        """Whether it scales losses where fp16 needs it (`TrainingParts.loss_scaling`); one that does overrides this."""
        return False
