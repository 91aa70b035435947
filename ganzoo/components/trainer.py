"""Base class of trainers, which own the update schedule and the optimizers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from ganzoo.components.dataset import Batch
from ganzoo.components.loss import Loss
from ganzoo.components.network import Discriminator, Generator, Network
from ganzoo.components.options import TrainerConfig
from ganzoo.components.penalty import Penalty
from ganzoo.components.world import World


@dataclass(frozen=True)
class TrainingParts:
    """The networks, loss and penalties that a trainer trains, on their device, and the run's settings.

    `networks` holds each network under the name that `TrainerConfig.roles` gives it.
    `rng` is the only source of randomness in training. `autocast()` is the context of the run's precision;
    `loss_scaling` is true where losses must be scaled (fp16). `total_steps` is the length of the run.
    `world` are the processes of the run, over which a trainer averages its gradients.
    """

    networks: Mapping[str, Network]
    loss: Loss
    rng: torch.Generator
    autocast: Callable[[], AbstractContextManager[Any]]
    penalties: Mapping[str, Penalty] = field(default_factory=dict)
    loss_scaling: bool = False
    total_steps: int = 1
    world: World = field(default_factory=World)

    @property
    def generator(self) -> Generator:
        """The generator; the first, where there are several."""
        return cast("Generator", self.networks["generator"])

    @property
    def discriminator(self) -> Discriminator:
        """The discriminator; the first, where there are several."""
        return cast("Discriminator", self.networks["discriminator"])

    @property
    def generators(self) -> dict[str, Generator]:
        """All generators by name."""
        return {name: network for name, network in self.networks.items() if isinstance(network, Generator)}

    @property
    def discriminators(self) -> dict[str, Discriminator]:
        """All discriminators by name."""
        return {name: network for name, network in self.networks.items() if isinstance(network, Discriminator)}

    def modules(self) -> list[nn.Module]:
        """Return the networks and the penalties."""
        return [*self.networks.values(), *self.penalties.values()]


@dataclass(frozen=True)
class Failure:
    """The first non-finite update, which was skipped.

    `what` says what was not finite, such as "the loss of the generator (nan) is"; `rng` is the state of
    `TrainingParts.rng` at the beginning of the step.
    """

    step: int
    what: str
    rng: Tensor


class Trainer(ABC):
    """The training algorithm: schedule, optimizers and updates.

    Args:
        config: the options of this trainer.
        parts: the networks, loss and penalties to train with.
    """

    Config: ClassVar[type[TrainerConfig]] = TrainerConfig

    def __init__(self, config: TrainerConfig, *, parts: TrainingParts) -> None:
        self.config = config
        self.parts = parts

    @abstractmethod
    def train_step(self, batch: Batch) -> dict[str, Tensor]:
        """Train on `config.batches_per_step` minibatches; return scalars, detached and on the device.

        To be comparable between trainers they use common names: `loss/generator`, `loss/discriminator`,
        `probability/real` (D(x)), `probability/fake` (D(G(z))), or, where `loss.outputs_probabilities` is false,
        `logits/real` and `logits/fake`; `lr/generator`, `lr/discriminator`, `penalty/<name>`.
        """

    def expensive_metrics(self) -> dict[str, Tensor]:
        """Return metrics of the last step that are too expensive for every step; called at log points only.

        Scalars, detached and still on the device: `gradient_norm/generator`, `gradient_norm/discriminator`.
        """
        return {}

    @abstractmethod
    def networks(self) -> dict[str, nn.Module]:
        """Return the modules to checkpoint by name: `parts.networks`, any average as `generator_ema`, …"""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Return all other state (optimizers, counters, …): tensors, numbers, text, lists and dictionaries."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load the state of `state_dict`; the networks are loaded separately."""

    def failure(self) -> Failure | None:
        """Return the first update whose loss or gradient was not finite; None without one, or if nothing is checked.

        Called at log points and before a checkpoint is saved, and may wait for the device then; in between, a trainer
        must keep such an update from the weights without waiting.
        """
        return None
