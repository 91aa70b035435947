"""The contracts of what is minimised: losses on logits, and penalties that go with any loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from ganzoo.components.component import LossConfig, PenaltyConfig
from ganzoo.components.network import Discriminator, Generator
from ganzoo.components.processes import Processes
from ganzoo.images import Facts


class Loss(ABC):
    """What the two networks minimise, always given logits (N,) in fp32, never probabilities."""

    Config: ClassVar[type[LossConfig]] = LossConfig

    needs_real_logits: bool = False
    """Whether `generator_loss` wants the logits of real images too, as relativistic losses do."""
    tells_probabilities: bool = True
    """Whether logits far from 0 mean that the discriminator is sure; a Wasserstein critic's only differ."""

    def __init__(self, config: LossConfig, *, facts: Facts) -> None:
        self.config = config
        self.facts = facts

    @abstractmethod
    def discriminator_loss(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """A scalar that falls as the discriminator tells real from fake."""

    @abstractmethod
    def generator_loss(self, real_logits: Tensor | None, fake_logits: Tensor) -> Tensor:
        """A scalar that falls as the generator deceives; `real_logits` only where `needs_real_logits`."""


@dataclass(frozen=True)
class PenaltyStep:
    """What a penalty may look at in one update of one network.

    `real` and `fake` are images (N, C, H, W) as the discriminator sees them; `latents` (N, latent_dim) made `fake`.
    In a discriminator update `fake` is detached; in a generator update it leads back to the generator.
    `rng` is the trainer's random number generator, on the device: randomness from elsewhere breaks resuming.
    With several `processes` all this is the part of one of them; a statistic over the minibatch is a `processes.mean`.
    """

    generator: Generator
    discriminator: Discriminator
    real: Tensor
    fake: Tensor
    latents: Tensor
    labels: Tensor | None
    real_logits: Tensor | None
    fake_logits: Tensor
    rng: torch.Generator
    processes: Processes = field(default_factory=Processes)

    def logits(self, images: Tensor) -> Tensor:
        """The discriminator's logits (N,) in fp32 for other images, with this step's labels."""
        labels = self.labels if self.discriminator.conditional else None
        return cast("Tensor", self.discriminator(images, labels).float())


class Penalty(nn.Module):
    """Extra terms for either network, composable with any loss and with each other.

    A module, so it may own parameters (trained with the discriminator's optimiser) and buffers;
    both are checkpointed. A subclass overrides what it needs; everything here does nothing.
    """

    Config: ClassVar[type[PenaltyConfig]] = PenaltyConfig

    recordable: ClassVar[bool] = False
    """Whether it does the same work on the device at each step, as a CUDA graph needs it (see `RecordableTrainer`)."""

    def __init__(self, config: PenaltyConfig, *, facts: Facts) -> None:
        super().__init__()
        self.config = config
        self.facts = facts

    def attach(self, generator: Generator, discriminator: Discriminator) -> None:
        """Make what depends on the networks, such as a head on features; once, after they are built.

        Both networks are on their device; whatever is made here follows them there. A look at the
        discriminator's features must leave it as it was: in evaluation, without gradients.

        Raises:
            ValueError: this penalty cannot work with these networks; the text says why, and which would do.
        """

    def transform_images(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """Change images, real and fake alike, before the discriminator sees them; must be differentiable."""
        return images

    def discriminator_term(self, step: PenaltyStep) -> Tensor | None:
        """A scalar to add to the discriminator's loss, before `weight`; None for nothing."""
        return None

    def generator_term(self, step: PenaltyStep) -> Tensor | None:
        """A scalar to add to the generator's loss, before `weight`; None for nothing."""
        return None

    def after_discriminator_step(self, discriminator: Discriminator) -> None:
        """Change the discriminator's weights after its update, as clipping does."""

    def metrics(self) -> dict[str, Tensor]:
        """Scalars of its own to log at this step, such as a strength that changes; they stay on the device."""
        return {}
