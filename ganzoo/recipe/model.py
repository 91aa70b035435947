"""Define the tables of a recipe, the TOML file that names the parts of a run, as Options classes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, Self, cast

import tomli_w
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, PrivateAttr, field_validator, model_validator

from ganzoo.components.options import (
    ROLES,
    ComponentConfig,
    DatasetConfig,
    DiscriminatorConfig,
    ExtractorConfig,
    GeneratorConfig,
    ImageSize,
    LossConfig,
    MetricConfig,
    Options,
    PenaltyConfig,
    TrainerConfig,
)


class TargetOptions(Options):
    """A score at which the run ends."""

    score: str
    """Score that ends the run, one of those that are evaluated during training, such as "fd_classifier"."""
    below: float | None = Field(default=None, ge=-1e12, le=1e12)
    """The run ends when the score is below this; for scores whose lower values are better. Give this or `above`."""
    above: float | None = Field(default=None, ge=-1e12, le=1e12)
    """The run ends when the score is above this; for scores whose higher values are better. Give this or `below`."""

    @model_validator(mode="after")
    def _one_side(self) -> Self:
        if (self.below is None) == (self.above is None):
            raise ValueError("give either below or above, one of the two")
        return self

    def reached_by(self, value: float) -> bool:
        """Return whether a value of the score reaches it."""
        return value < self.below if self.below is not None else value > cast("float", self.above)

    def __str__(self) -> str:
        side, bound = ("<", self.below) if self.below is not None else (">", self.above)
        return f"{self.score} {side} {bound:g}"


class RunOptions(Options):
    """Name, seed, length and folder of a run."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)
    """Names the folder of runs below `root`, and the run where it is tracked."""
    seed: NonNegativeInt = 2333
    """Seed of everything random in training."""
    steps: PositiveInt | None = Field(default=None, le=10**12)
    """Length in training steps; this or `epochs`."""
    epochs: PositiveFloat | None = Field(default=None, le=1e9)
    """Length in passes over the dataset; this or `steps`."""
    root: str = "runs"
    """Folder in which run directories are made, relative to the working directory."""
    log_every: PositiveInt = 10
    """Steps between two rows of metrics."""
    target: TargetOptions | None = None
    """Score at which the run ends before its length; left out, or empty: none."""

    @field_validator("target", mode="before")
    @classmethod
    def _none_where_empty(cls, value: Any) -> Any:
        return None if value == {} else value

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("give either steps or epochs, one of the two")
        return self

    def total_steps(self, images: int, batch_size: int) -> int:
        """Return the length in steps of `batch_size` images, rounded up where it is in epochs of `images` images."""
        return self.steps or math.ceil(cast("float", self.epochs) * images / batch_size)


class PluginOptions(Options):
    """What has to be installed for this recipe."""

    requires: tuple[str, ...] = ()
    """Distributions whose plugins the recipe uses, such as "ganzoo-dcgan"."""
    files: tuple[str, ...] = ()
    """Plugin files, relative to the recipe; running the recipe imports them, which executes their code."""


class DeviceOptions(Options):
    """What the run computes on, and how."""

    accelerator: Literal["auto", "cuda", "mps", "cpu"] = "auto"
    """auto: cuda if there is one, else mps, else cpu."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """auto: bf16 if the hardware computes in it, else fp32."""
    compile: bool = False
    """Compile both networks with torch.compile."""
    tf32: bool = False
    """On a CUDA GPU, let products in fp32 round their factors to TF32, which keeps 10 of 23 bits."""
    cuda_graphs: bool = False
    """Record the training step as a CUDA graph and replay it; needs a CUDA GPU and steps that all do the same work."""
    sync_batch_norm: bool = True
    """With several processes: compute batch norm's statistics over the images of all processes, rather than of each."""


class InitialWeightsOptions(Options):
    """Weights to start from, and what of the networks does not train."""

    source: str | None = Field(default=None, alias="from")
    """Run directory, imported run or export whose weights the networks start from, relative to the working directory;
    default: they start from scratch."""
    step: NonNegativeInt | None = None
    """Step of the run's checkpoint; default: its last complete one."""
    networks: tuple[str, ...] = ()
    """Networks that take weights, such as "generator"; default: all that the source has."""
    weights: Literal["auto", "ema", "raw"] = "auto"
    """auto: the average of a network where the source keeps one."""
    freeze: tuple[str, ...] = ()
    """Modules that do not train, such as "discriminator.blocks.0": their parameters and batch-norm statistics stay."""

    @model_validator(mode="after")
    def _has_source(self) -> Self:
        given = [name for name in ("step", "networks") if getattr(self, name) not in (None, ())]
        if self.source is None and given:
            raise ValueError(f"{' and '.join(given)} say what to take, and from is missing")
        return self


class SampleOptions(Options):
    """The grids that are made from fixed latents as the run goes on."""

    every: PositiveInt | None = None
    """Steps between two grids; default: twenty over the run."""
    count: PositiveInt = Field(default=64, le=10_000)
    """Images in a grid."""
    weights: Literal["auto", "ema", "raw"] = "auto"
    """auto: ema where the trainer keeps one."""
    batch_norm: Literal["auto", "running", "batch", "standing"] = "auto"
    """Statistics that batch norm uses: running ones from training, those of the batch of images made together, or
    standing ones, recomputed for the current weights; auto: running if the generator keeps them, else batch."""
    bands: tuple[NonNegativeInt, ...] | None = None
    """Channels of the images to show, counted from 0: one as gray or three as RGB; default: gray, RGB and RGBA as they
    are, otherwise the first three channels, or the first of two."""
    gif: bool = True
    """Write `samples/evolution.gif` at the end."""

    @field_validator("bands")
    @classmethod
    def _check_bands(cls, value: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if value is not None and len(value) not in (1, 3):
            raise ValueError(f"has {len(value)} bands; must be one, or three: red, green, blue")
        return value

    def interval(self, total_steps: int) -> int:
        """Return the steps between two grids in a run of this length."""
        return self.every or math.ceil(total_steps / 20)


class CheckpointOptions(Options):
    """When the state of the run is saved; it always is at the end and when the run is interrupted."""

    every: PositiveInt = 1000
    """Steps between two checkpoints."""
    keep: PositiveInt = Field(default=2, ge=2)
    """Number of the latest checkpoints to keep."""
    keep_every: PositiveInt | None = None
    """Keep every n-th checkpoint permanently: 10 with `every = 1000` keeps those of steps 10000, 20000, …"""
    best: str | None = None
    """Score, such as "fd_classifier": whenever an evaluation gives its best value so far, a checkpoint is saved, and
    kept until a better one."""


class EvaluationOptions(Options):
    """How samples are scored: by `ganzoo evaluate`, and while training where `every` is set."""

    every: PositiveInt | None = None
    """Steps between two evaluations during training, with one more at the end; default: no evaluation."""
    samples: int = Field(default=10_000, ge=2, le=10**7)
    """Number of samples to make and score."""
    extractors: tuple[ExtractorConfig, ...] = ()
    """Networks whose features are compared, one `[[evaluation.extractors]]` table each; default, with ganzoo-metrics:
    `classifier` for a dataset with classes, else `inception` for gray and RGB images."""
    metrics: tuple[MetricConfig, ...] = ()
    """Metrics to compute: names, or tables that also set options; default: all that plugins compute by default, such as
    those of ganzoo-metrics."""
    real: dict[str, Any] = Field(default_factory=dict)
    """Options of the dataset for the real images to compare with, such as `split = "test"`; default: the training
    images."""
    real_images: int = Field(default=50_000, ge=2)
    """Largest number of real images to compare with, always the same ones."""
    held_out: dict[str, Any] = Field(default_factory=dict)
    """Options of the dataset for images that are not trained on, which distinguish copies from samples that are merely
    good; default: each training image is compared with all others."""
    image_size: ImageSize | None = None
    """Resize samples and real images to this size first, so that runs of different sizes are comparable: the side of a
    square, or [height, width] with the aspect ratio of the images; default: the run's own size."""
    weights: Literal["auto", "ema", "raw"] = "auto"
    """auto: ema where the trainer keeps one."""
    seed: NonNegativeInt = 0
    """Seed of the latents and of everything else random in the evaluation; does not affect training."""


class WatchdogOptions(Options):
    """Alerts to failing training, with the remedy to try; changes nothing unless `stop` is set."""

    enabled: bool = True
    """Check the run for failing training."""
    stop: bool = False
    """End the run at the first alert, as failed; the checkpoints stay."""
    patience: PositiveInt = 5
    """Number of consecutive bad log points that raise an alert; for grids and evaluations it is always 2."""
    warm_up: float = Field(default=0.05, ge=0, lt=1)
    """Share of the run, from its start, without alerts; at least its first 50 steps."""
    discriminator_wins: float = Field(default=0.99, gt=0.5, lt=1)
    """Alert if the mean probability is at least this for real images and at most one minus this for generated ones."""
    least_gradient: float = Field(default=1e-3, ge=0)
    """Alert if the norm of the generator's gradient falls to this share of its median so far."""
    least_diversity: float = Field(default=0.1, ge=0, lt=1)
    """Alert if samples differ from each other by less than this share of how much real images differ or, in the first
    half of the run, of how much the most diverse samples so far did, if that is less."""
    least_coverage: float = Field(default=0.5, ge=0, le=1)
    """Alert if less than this share of the classes is covered or, in the first half of the run, less than this share of
    the most that were covered so far; needs a score that counts classes, such as `classes_covered` or `modes`."""


class NamedTables(Options):
    """Tables of components of one kind by their names; `recipe.load.recipe_model` adds one for each registered."""

    def chosen(self) -> dict[str, Any]:
        """Return the options of those that the recipe has, by name."""
        return {name: config for name, config in self if config is not None}

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...


class NetworkTables(Options, extra="allow"):
    """Networks that the trainer trains beside [generator] and [discriminator], by their names.

    `recipe.load.recipe_model` derives the class that has the names of a trainer.
    """


class Recipe(Options):
    """All options of a run; `recipe.load.recipe_model` derives the model that has the registered components."""

    run: RunOptions
    """Name, seed, length and folder of the run."""
    plugins: PluginOptions = PluginOptions()
    """What must be installed."""
    device: DeviceOptions = DeviceOptions()
    """What to compute on."""
    dataset: DatasetConfig
    """The images."""
    generator: GeneratorConfig
    """The network that makes images."""
    discriminator: DiscriminatorConfig
    """The network that judges them."""
    networks: NetworkTables = NetworkTables()
    """Further networks of a trainer that has more than two, by name; default: like the first of its kind."""
    loss: LossConfig
    """What both networks minimize."""
    penalties: tuple[PenaltyConfig, ...] = ()
    """Extra terms for either network, any number of them: one `[[penalties]]` table each."""
    trainer: TrainerConfig
    """The update schedule, and the optimizers."""
    init: InitialWeightsOptions = InitialWeightsOptions()
    """Weights to start from."""
    samples: SampleOptions = SampleOptions()
    """Sample grids from fixed latents."""
    checkpoint: CheckpointOptions = CheckpointOptions()
    """Saved states."""
    evaluation: EvaluationOptions = EvaluationOptions()
    """How samples are scored."""
    watchdog: WatchdogOptions = WatchdogOptions()
    """Alerts to failing training."""
    observers: NamedTables = NamedTables()
    """What watches the run, a table `[observers.NAME]` each."""
    tracking: NamedTables = NamedTables()
    """Where metrics go beside the run directory, a table `[tracking.NAME]` each."""
    _foreign: bool = PrivateAttr(default=False)

    @property
    def foreign(self) -> bool:
        """Whether a run directory names the folder of the dataset, so that nothing is downloaded there."""
        return self._foreign

    def mark_foreign(self) -> None:
        """Let nothing be downloaded to the dataset's folder unless it is the default one."""
        self._foreign = True

    def network(self, role: str) -> ComponentConfig:
        """Return the options of a network of the trainer, by its name: its own, or those of the first of its kind."""
        own: ComponentConfig | None = getattr(self.networks, role, None)
        return own or getattr(self, self.trainer.roles[role])

    def missing_table(self, role: str) -> str:
        """Return what to add to a problem of a network whose options are those of the first of its kind; else ""."""
        if role in ROLES or getattr(self.networks, role, None):
            return ""
        first = self.trainer.roles[role]
        return f" (the recipe has no such table, and takes that of [{first}]: add [networks.{role}])"

    def to_dict(self) -> dict[str, Any]:
        """Return every option as a TOML value; unset options are left out, since TOML has no null."""
        tables = self.model_dump(mode="json", exclude_none=True, by_alias=True)
        return tables if tables["networks"] else {name: each for name, each in tables.items() if name != "networks"}

    def to_toml(self) -> str:
        """Return the resolved recipe as TOML; running it again repeats the run."""
        return tomli_w.dumps(self.to_dict())
