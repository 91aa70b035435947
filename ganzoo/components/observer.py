"""What hooks are told of a run: the view of it that observers get, the recipe as lints see it, and alerts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from ganzoo.components.options import (
    DatasetConfig,
    DiscriminatorConfig,
    GeneratorConfig,
    LossConfig,
    PenaltyConfig,
    TrainerConfig,
)
from ganzoo.components.spec import DatasetInfo

if TYPE_CHECKING:
    from torch import Tensor

    from ganzoo.components.network import Generator


@dataclass(frozen=True)
class Alert:
    """Something that goes wrong in a run.

    Attributes:
        kind: a word for it, the same each time, such as "samples_alike".
        text: what was seen, in one sentence without a full stop.
        remedy: what to try, likewise.
    """

    kind: str
    text: str
    remedy: str


class RecipeView(Protocol):
    """A checked recipe: the options of its parts, and its tables `run`, `device`, `samples`, … by name."""

    @property
    def dataset(self) -> DatasetConfig:
        """Options of the dataset."""

    @property
    def generator(self) -> GeneratorConfig:
        """Options of the generator."""

    @property
    def discriminator(self) -> DiscriminatorConfig:
        """Options of the discriminator."""

    @property
    def loss(self) -> LossConfig:
        """Options of the loss."""

    @property
    def penalties(self) -> tuple[PenaltyConfig, ...]:
        """Options of the penalties, in the order of the recipe."""

    @property
    def trainer(self) -> TrainerConfig:
        """Options of the trainer."""

    def to_dict(self) -> dict[str, Any]:
        """Every option with its value as TOML has it."""

    @property
    def run(self) -> Any:
        """The table [run]."""

    @property
    def plugins(self) -> Any:
        """The table [plugins]."""

    @property
    def device(self) -> Any:
        """The table [device]."""

    @property
    def samples(self) -> Any:
        """The table [samples]."""

    @property
    def checkpoint(self) -> Any:
        """The table [checkpoint]."""

    @property
    def evaluation(self) -> Any:
        """The table [evaluation]."""

    @property
    def watchdog(self) -> Any:
        """The table [watchdog]."""

    @property
    def tracking(self) -> Any:
        """The table [tracking]."""


class RunView(Protocol):
    """A run as its observers see it: what it was asked, what it works with, and how far it is."""

    @property
    def recipe(self) -> RecipeView:
        """The recipe, every option resolved."""

    @property
    def info(self) -> DatasetInfo:
        """What the data is."""

    @property
    def step(self) -> int:
        """Training steps taken."""

    @property
    def total_steps(self) -> int:
        """Length of the run in steps."""

    @property
    def epoch(self) -> float:
        """Passes over the dataset so far."""

    def fixed_latents(self, count: int) -> Tensor:
        """The same `count` latents in every run of this seed and generator config, on the CPU."""

    def sampling_generator(self, weights: str) -> Generator:
        """The generator to sample from: "ema", "raw", or "auto" for ema where the trainer keeps one."""

    @property
    def directory(self) -> Any:
        """The run directory, `ganzoo.storage.run_directory.RunDirectory`."""

    @property
    def resumed_from(self) -> int | None:
        """The step that the run was resumed from; None: it was not."""

    @property
    def stop_signal(self) -> int | None:
        """The signal that asked the run to stop, if any."""
