"""Options of components, validated before anything heavy is imported.

They are separate from the components' base classes, because these need torch and a recipe is checked without it.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
)

from ganzoo.components.descriptions import descriptions
from ganzoo.components.schedule import Scheduled
from ganzoo.components.spec import DatasetInfo, ImageSpec, VectorSpec
from ganzoo.errors import Problem

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

    load_component: ClassVar[Any]
    """On options that come from a recipe: a function that returns the component's class. A component whose options hold
    those of another one builds it with `self.config.source.load_component()(self.config.source)`."""

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

    latent_dim: NonNegativeInt = 100
    """Length of a latent vector; 0 for a generator whose only input is a condition."""

    @property
    def sampling_options(self) -> dict[str, Any]:
        """Options of the generator's table `sampling` that differ from their defaults; empty without such a table.

        They apply when samples are made and not in training: `--set generator.sampling.KEY=VALUE` changes them for one
        command, and scores computed with different ones are not comparable.
        """
        table = getattr(self, "sampling", None)
        return table.model_dump(mode="json", exclude_defaults=True) if isinstance(table, Options) else {}


class DiscriminatorConfig(ComponentConfig):
    """Options that every discriminator has: none."""

    @property
    def mixes_batch(self) -> bool:
        """Whether the logit of an image depends on the others in its minibatch, as with batch norm.

        By default true where an option `norm` is "batch"; a discriminator that always has batch norm overrides this.
        """
        return getattr(self, "norm", None) == "batch"

    @property
    def judged_together(self) -> int:
        """Number of samples in a group whose members are compared, as by minibatch standard deviation; 1: no groups.

        A trainer that splits a minibatch keeps such groups whole.
        """
        return 1

    has_spectral_norm: ClassVar[bool] = False
    """Whether spectral norm makes the network Lipschitz."""


class LossConfig(ComponentConfig):
    """Options that every loss has: none."""

    mixes_batch: ClassVar[bool] = False
    """Whether the loss compares samples of a minibatch with each other, rather than being a mean over them."""


class PenaltyConfig(ComponentConfig):
    """Options that every penalty has."""

    weight: Scheduled[NonNegativeFloat] = 1.0
    """Factor on the penalty's terms."""
    interval: PositiveInt = 1
    """Compute the terms at every n-th step only, with n times the weight (lazy regularization, StyleGAN2 §4)."""
    own_update: bool = False
    """Apply the terms in a separate update, and lower the optimizer's rates accordingly: with c = n / (n + 1), its
    learning rate is multiplied by c and its betas are raised to the power c, as in StyleGAN2."""

    mixes_batch: ClassVar[bool] = False
    """Whether the terms depend on the minibatch as a whole."""

    is_gradient_penalty: ClassVar[bool] = False
    """Whether the term depends on the gradient of single logits."""

    augments: ClassVar[bool] = False
    """Whether the penalty augments the images that the discriminator sees."""

    @property
    def differentiates_twice(self) -> bool:
        """True of a gradient penalty."""
        return self.is_gradient_penalty

    def check_parts(self, parts: Mapping[str, ComponentConfig]) -> None:
        """Check that the parts of a recipe suit this penalty, as far as their options tell.

        Args:
            parts: as `TrainerConfig.check_parts` takes them.

        Raises:
            ValueError: they do not; the text says why, and what would.
        """


ImageSize = PositiveInt | tuple[PositiveInt, PositiveInt]
"""A size in pixels: of the sides of a square, or [height, width]."""


class DatasetConfig(ComponentConfig):
    """Options that every dataset has; see `ImageDatasetConfig` and `VectorDatasetConfig`."""

    root: str = "data"
    """Folder that holds the dataset, relative to the working directory."""
    classes: tuple[str | NonNegativeInt, ...] | None = Field(default=None, min_length=1)
    """Use only these classes, in this order: by name, or by index unless all names are numbers; default: all.
    """
    limit: PositiveInt | None = None
    """Use at most this many samples, evenly spaced over the dataset; default: all."""
    placement: Literal["auto", "device", "host"] = "auto"
    """Where the samples are kept: all on the device, or on the host, prefetched into pinned memory for a GPU; auto: on
    the device if it is a GPU and half of its free memory suffices."""
    max_bad_fraction: float = Field(default=0.0, ge=0, lt=1)
    """Largest share of unreadable samples that are skipped and listed; with more, the run stops."""

    reads_any_folder: ClassVar[bool] = False
    """Whether any folder of images can be the `root`, as `ganzoo evaluate --images` needs it."""

    @property
    def has_labels(self) -> bool | None:
        """Whether the dataset has labels; None unless overridden: known only after `prepare`."""
        return None

    @property
    def flips(self) -> bool:
        """Whether half of the images are mirrored at random while training."""
        return getattr(self, "horizontal_flip", False)

    def sample_spec(self) -> ImageSpec | VectorSpec:
        """Return the shape of every sample of this dataset."""
        raise NotImplementedError(f"{type(self).__name__}: derive it from ImageDatasetConfig or VectorDatasetConfig")

    def condition_spec(self) -> ImageSpec | VectorSpec | None:
        """Return the shape of every condition; None unless overridden: the dataset has none."""
        return None


class VectorDatasetConfig(DatasetConfig):
    """Options that every dataset of vectors has."""

    size: PositiveInt = 2
    """Length of a vector."""

    def sample_spec(self) -> ImageSpec | VectorSpec:
        """Return the length of every vector of this dataset."""
        return VectorSpec(self.size)


_PAIRS = {
    "image_size": "a whole number > 0, [height, width]",
    "crop": 'a whole number > 0, [height, width], "largest" or "none"',
    "value_range": '[low, high] or "auto"',
}


class ImageDatasetConfig(DatasetConfig):
    """Options that every dataset of images has: how an image is brought to its final size."""

    image_size: ImageSize = 64
    """Size of the images that the networks see, in pixels: the side of a square, or [height, width]."""
    channels: PositiveInt = 3
    """1 for gray, 3 for RGB, 2 and 4 for the same with alpha, any number for arrays; image files are converted."""
    resize_first: PositiveInt | None = None
    """Resize the shorter side to this many pixels before the crop; default: no resize before the crop."""
    crop: ImageSize | Literal["largest", "none"] = "largest"
    """Center crop: a side in pixels or [height, width], "largest" for the largest part that has the shape of
    `image_size`, "none" to keep the whole image and change its aspect ratio."""
    resize: Literal["bilinear", "bicubic", "lanczos", "box", "nearest"] = "bilinear"
    """Filter of every resize (PIL's, which averages over the whole footprint when it shrinks)."""
    fast_decode: bool = False
    """Decode JPEGs at a half, a quarter or an eighth of their size if the resize shrinks the result further: up to
    seven times as fast, and pixels differ slightly, by at most 1.5 of 255 on average; no effect without shrinking."""
    horizontal_flip: bool = False
    """Mirror half of the images at random while training."""
    value_range: tuple[float, float] | Literal["auto"] | None = None
    """Values that become −1 and 1, [low, high]; values beyond them are clipped. "auto": the lowest and the highest
    value, transparent pixels left out, of up to 1,000 images spread over the dataset; default: the range of 8 or 16
    bits, 0 and 1 for image files of floats, and −1 and 1 for arrays of floats."""
    depth: Literal[8, 16] = 8
    """Bits per channel that are kept from image files; 16 keeps those of gray PNG and TIFF files."""
    background: str = "white"
    """Color behind transparent parts: "white", "black", "gray" or "#rrggbb"; no effect with 2 or 4 channels."""
    max_pixels: PositiveInt | None = None
    """Largest number of pixels of an image that is read; default: 178,956,970, since a small file can be crafted to
    fill the memory when it is decoded."""

    @field_validator("image_size", "crop", "value_range", mode="wrap")
    @classmethod
    def _check_pair(cls, value: Any, validate: ValidatorFunctionWrapHandler, field: ValidationInfo) -> Any:
        """Tell one problem, where pydantic would tell one for each form of the option."""
        try:
            checked = validate(tuple(value) if isinstance(value, list) else value)  # strictly, a list is no tuple
        except ValidationError:
            raise ValueError(f"is {value!r}; must be {_PAIRS[str(field.field_name)]}") from None
        if field.field_name == "value_range" and isinstance(checked, tuple) and checked[0] >= checked[1]:
            raise ValueError("value_range: the first value must be below the second")
        return checked

    @field_validator("background")
    @classmethod
    def _check_background(cls, value: str) -> str:
        if not re.fullmatch("white|black|gray|#[0-9a-fA-F]{6}", value):
            raise ValueError(f'is "{value}"; must be "white", "black", "gray" or "#rrggbb"')
        return value

    def sample_spec(self) -> ImageSpec:
        """Return the shape of every image of this dataset."""
        return ImageSpec(self.channels, *sides(self.image_size))


def sides(size: ImageSize) -> tuple[int, int]:
    """Return the height and width that a size names."""
    return size if isinstance(size, tuple) else (size, size)


class ImporterConfig(ComponentConfig):
    """Options that every importer has: none."""


class ExtractorConfig(ComponentConfig):
    """Options that every extractor of features has: none."""

    @property
    def label(self) -> str:
        """Name of the extractor within the names of scores."""
        return self.name

    @classmethod
    def default_for(cls, info: DatasetInfo) -> bool:  # noqa: ARG003 (an override's)
        """Return whether it is used for such images if a recipe names no extractor; False unless overridden."""
        return False


class MetricConfig(ComponentConfig):
    """Options that every metric has: none."""

    by_default: ClassVar[bool] = False
    """Whether it is computed if a recipe names no metric."""


class OptimizerConfig(ComponentConfig):
    """Options that every optimizer has, and how it is built: an optimizer is registered by its config alone."""

    lr: Scheduled[PositiveFloat] = 2e-4
    """Learning rate."""
    weight_decay: NonNegativeFloat = 0.0
    """L2 coupled to the gradient (decoupled from it where the optimizer says so), on every parameter."""

    @abstractmethod
    def build(self, parameters: Iterable[Tensor]) -> Optimizer:
        """Build the torch optimizer over `parameters`; called with numbers in the place of schedules (`options_at`).

        An option that takes a schedule is set at each step in the optimizer's groups, under its own name: each of
        `param_groups` has a key `lr`, and `momentum` where `momentum: Scheduled[float]` is an option.

        A resumed run goes on from its `state` and from what it changed in its groups. Its step gets no closure.

        An optimizer that skips the step if the tensor `self.found_inf` is 1, without reading it on the host, sets
        `_step_supports_amp_scaling = True`, as torch's fused ones do; for any other, the weights are restored after
        such a step.
        """


class ObserverConfig(ComponentConfig):
    """Options that every observer has: none."""


class TrackerConfig(ComponentConfig):
    """Options that every tracker has: none."""

    by_default: ClassVar[bool] = False
    """Whether it tracks runs whose recipe has no table for it."""
    off: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    """Options that turn off a tracker which tracks by default; trial runs have them."""
    flags: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """Help of the flag `--NAME` of a command, by command: "sweep" if the tracker has `register_sweep`, "compare" if it
    has `publish`."""

    @property
    def enabled(self) -> bool:
        """Whether it tracks at all; a tracker that can be turned off overrides this."""
        return True

    def check_recipe(self, recipe: Any) -> Iterable[Problem]:
        """Yield what is wrong with these options beside those of `recipe`, a `RecipeView`; each path is an option's."""
        return ()

    def sweep_options(self, sweep: str, variant: str = "", choice: Sequence[str] = ()) -> Mapping[str, Any]:
        """Return the options that show a run as one of a sweep, in place of the recipe's.

        Args:
            sweep: its name.
            variant: name of the run's combination; empty where agents choose that.
            choice: the varied options, such as "loss.name=hinge".
        """
        return {}


NetworkKind = Literal["generator", "discriminator"]
ROLES: Mapping[str, NetworkKind] = MappingProxyType({"generator": "generator", "discriminator": "discriminator"})
"""The networks of most GANs by their names; every trainer has these two."""


class TrainerConfig(ComponentConfig):
    """Options that every trainer has."""

    batch_size: PositiveInt = 128
    """Images in a minibatch, over all processes together."""

    @property
    def roles(self) -> Mapping[str, NetworkKind]:
        """The networks that the trainer trains: the kind of each by its name, "generator" and "discriminator" first.

        A trainer of more than these two returns `{**super().roles, "generator_back": "generator"}`. A recipe may give
        such a network a table `[networks.generator_back]`; without one it is built like the first of its kind.
        """
        return ROLES

    def info_for(self, role: str, info: DatasetInfo) -> DatasetInfo:
        """Return the `DatasetInfo` that the network `role` is built for; the dataset's unless overridden.

        A trainer overrides it for networks that make or judge something other than the samples.

        Args:
            role: name of the network.
            info: of the dataset; the labels are unknown, and None, in `ganzoo recipe check`.

        Raises:
            ValueError: the dataset lacks what the trainer needs.
        """
        return info

    def batch_for(self, role: str, batch: Any) -> Any:
        """Return a `Batch` of the dataset as the network `role` sees it, in accord with `info_for`.

        If it only exchanges samples, labels and conditions, the network's samples can be scored against the dataset;
        tensors that it computes, on the device of the batch, serve training and sampling only.
        """
        return batch

    @property
    def batches_per_step(self) -> int:
        """Number of minibatches of real images in a step; `Trainer.train_step` gets them as one batch."""
        return 1

    @property
    def micro_batches(self) -> int:
        """Number of equal parts of a minibatch that are computed in turn; each process takes a share of every part."""
        return 1

    def check_parts(self, parts: Mapping[str, ComponentConfig]) -> None:
        """Check that the parts of a recipe suit this trainer.

        Args:
            parts: options of each network by its name in `roles`, of the others by their paths: "loss", "penalties.0".

        Raises:
            ValueError: they do not; the text says why, and what would.
        """

    scales_loss: ClassVar[bool] = False
    """Whether the trainer scales losses under fp16 (`TrainingParts.loss_scaling`)."""
