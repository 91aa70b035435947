"""What hooks are given: the run as observers see it, the recipe as lints see it, alerts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from ganzoo.components.options import (
    ComponentConfig,
    DatasetConfig,
    DiscriminatorConfig,
    GeneratorConfig,
    LossConfig,
    ObserverConfig,
    PenaltyConfig,
    TrackerConfig,
    TrainerConfig,
)
from ganzoo.components.spec import DatasetInfo

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from ganzoo.components.dataset import Batch
    from ganzoo.components.loss import Loss
    from ganzoo.components.network import Generator


@dataclass(frozen=True)
class Alert:
    """A problem seen in a run.

    Attributes:
        kind: its identifier, such as "samples_alike".
        text: what was seen, in one sentence without a full stop.
        remedy: what to try, likewise.
    """

    kind: str
    text: str
    remedy: str


class Observer:
    """Watches runs whose recipe has its table `[observers.NAME]`, by methods that are marked with `@hookimpl`.

    It receives each event before ganzoo's own observers do, so that the figures it logs are in the row of the step.

    Args:
        config: the options of this observer.
    """

    Config: ClassVar[type[ObserverConfig]] = ObserverConfig

    def __init__(self, config: ObserverConfig) -> None:
        self.config = config


class Tracker:
    """Sends the output of runs elsewhere whose recipe has the table `[tracking.NAME]`; otherwise like an observer.

    It receives each event after the run's own files are written.

    Args:
        config: the options of this tracker.
    """

    Config: ClassVar[type[TrackerConfig]] = TrackerConfig

    def __init__(self, config: TrackerConfig) -> None:
        self.config = config

    def send_scores(self, directory: Any, recipe: RecipeView, step: int, scores: Mapping[str, float]) -> None:
        """Send scores that `ganzoo evaluate` computes after a run; do nothing if it did not track that run.

        No training runs in the directory meanwhile. An error becomes a warning.

        Args:
            directory: the run directory, `ganzoo.storage.run_directory.RunDirectory`.
            recipe: by which the scores were computed: the run's, with the requested changes.
            step: of the weights.
            scores: by name, such as "fid"; of several seeds the mean.
        """

    def register_sweep(self, sweep: AgentSweep) -> str:
        """Register a sweep for agents to run, print how they join, and return its id.

        Called for `ganzoo sweep --NAME`, if `flags` of the config has "sweep".

        Raises:
            GanzooError: it cannot be registered; the text says why.
        """
        raise NotImplementedError

    def publish(self, report: Report) -> Mapping[str, str]:
        """Publish a comparison, and return the address of each page by its kind.

        Called for `ganzoo compare --NAME`, if `flags` of the config has "compare".

        Raises:
            GanzooError: it cannot be published; the text says why.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class AgentSweep:
    """A sweep that agents are to run.

    Attributes:
        name: of the sweep.
        source: the recipe file.
        command: the words that train one run; its values follow, such as "loss.name=hinge", an argument each.
        values: those of each option, numbers or text that reads as the value after "="; the seeds are among them.
        ranges: the lowest and the highest value of each option that takes any between.
        method: how the values are chosen; None: every combination is taken.
        metric: what "bayes" optimizes, as trackers name it.
        goal: whether lower or higher values of it are better.
        runs: most runs; None: any number.
    """

    name: str
    source: str
    command: Sequence[str]
    values: Mapping[str, Sequence[int | float | str]]
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    method: Literal["random", "bayes"] | None = None
    metric: str | None = None
    goal: Literal["minimize", "maximize"] = "minimize"
    runs: int | None = None


@dataclass(frozen=True)
class Report:
    """A comparison, to be published.

    Attributes:
        title: the requested one, or one of the differences.
        tables: Markdown by heading.
        curves: names of the metrics to draw, the scores first.
        runs: the run directories of each variant, by its name.
    """

    title: str
    tables: Mapping[str, str]
    curves: Sequence[str]
    runs: Mapping[str, Sequence[Path]]


@dataclass(frozen=True, init=False, match_args=False)  # for type checkers
class RecipeView(Protocol):
    """A checked recipe: the options of its parts, and its tables `run`, `device`, `samples`, … by name."""

    dataset: DatasetConfig
    """Options of the dataset."""
    generator: GeneratorConfig
    """Options of the generator."""
    discriminator: DiscriminatorConfig
    """Options of the discriminator."""
    loss: LossConfig
    """Options of the loss."""
    penalties: tuple[PenaltyConfig, ...]
    """Options of the penalties, in the order of the recipe."""
    trainer: TrainerConfig
    """Options of the trainer."""

    def network(self, role: str) -> ComponentConfig:
        """Options of a network of the trainer, by its name."""

    def to_dict(self) -> dict[str, Any]:
        """Every option with its value as TOML has it."""

    def __getattr__(self, table: str) -> Any:
        """Any other table, such as `recipe.samples`."""


@dataclass(frozen=True, init=False, match_args=False)  # for type checkers; what observers get refuses changes too
class RunView(Protocol):
    """A run as its observers see it; setting an attribute raises AttributeError.

    Networks, loss and dataset are those that the run works with, not copies: read them, do not change them.
    """

    recipe: RecipeView
    """The recipe, every option resolved."""
    directory: Any
    """The run directory, `ganzoo.storage.run_directory.RunDirectory`; its `path` is the folder."""
    info: DatasetInfo
    """Shape of the images, names of the classes."""
    dataset: Any
    """The packed dataset, `ganzoo.data.packed_dataset.PackedDataset`; `len(run.dataset)` is its size."""
    step: int
    """Training steps taken."""
    total_steps: int
    """Length of the run in steps."""
    images_per_step: int
    """Real images in one step, over all processes."""
    epoch: float
    """Passes over the dataset so far."""
    seconds: float
    """Seconds of training so far, over all parts of a resumed run, without the time that observers take."""
    time_to_target: float | None
    """The seconds of training after which `run.target` was reached; None: it is not, or there is none."""
    ending: bool
    """Whether this is the last step; with a target, `step_ended` knows it only once the score is evaluated."""
    resumed_from: int | None
    """The step that the run was resumed from; None: it was not."""
    error: BaseException | None
    """The error that ended the run early; None while it goes on and after it is complete."""
    status: Literal["complete", "reached", "interrupted", "failed"]
    """How it ended; "reached" at its target, before its length or with it, "interrupted" where it is to be resumed."""
    device: torch.device
    """The device that it trains on."""
    precision: str
    """ "fp32", "bf16" or "fp16"."""
    compute_description: str
    """Device and precision in words, and why these were chosen."""
    world_size: int
    """Processes that train together; only the first has observers."""
    plugin_versions: Mapping[str, str]
    """Version of every distribution that a loaded plugin came from, by its name."""
    loss: Loss
    """The loss."""
    networks: Mapping[str, nn.Module]
    """The networks by name: "generator", "discriminator", "generator_ema" where the trainer keeps one, …"""
    sample_classes: str
    """Classes of the samples of `samples_ready`, in turn, in words; empty if the samples are not of classes in turn."""

    def sampling_generator(self, weights: str) -> Generator:
        """The generator to sample from: "ema", "raw", or "auto" for ema where the trainer keeps one."""

    def weights_name(self, weights: str) -> str:
        """Resolve "auto": "ema" where the trainer keeps an average, else "raw"."""

    def fixed_latents(self, count: int) -> Tensor:
        """The same `count` latents in every run of this seed and generator config, on the CPU."""

    def fixed_labels(self, count: int) -> Tensor | None:
        """Class after class in turn for the fixed latents; None where the generator takes no labels."""

    def fixed_examples(self, count: int) -> Batch | None:
        """The first `count` samples of the dataset, on the CPU; None where the generator takes no condition."""

    def log(self, figures: Mapping[str, float]) -> None:
        """Add figures of this step to the metrics, the console and the trackers: `{"weight_norm/generator": 3.1}`.

        Penalties have `metrics` for that, and trainers what `train_step` returns.

        Raises:
            ValueError: a name is that of the run's position, or begins with "score/".
        """

    def fire(self, event: str, **arguments: Any) -> None:
        """Tell every observer of an event, such as `run.fire("alert_raised", step=step, alert=alert)`."""
