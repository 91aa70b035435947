"""Base class of penalties: extra loss terms for either network, composable with any loss."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from ganzoo.components.network import Discriminator, Generator
from ganzoo.components.options import PenaltyConfig
from ganzoo.components.spec import DatasetInfo
from ganzoo.components.world import World


@dataclass(frozen=True)
class PenaltyStep:
    """Inputs of a penalty in one update of one network.

    `real` and `fake` are samples (N, …) as the discriminator sees them; `latents` (N, latent_dim) made `fake`.
    In a discriminator update `fake` is detached; in a generator update it leads back to the generator.
    `rng` is the trainer's random number generator, on the device: randomness from elsewhere breaks resuming.
    With several processes these are one's share; a statistic over the minibatch is a `world.all_reduce_mean`.
    """

    generator: Generator
    discriminator: Discriminator
    real: Tensor
    fake: Tensor
    latents: Tensor
    labels: Tensor | None
    condition: Tensor | None
    real_logits: Tensor | None
    fake_logits: Tensor
    rng: torch.Generator
    world: World = field(default_factory=World)

    def logits(self, images: Tensor) -> Tensor:
        """Return the discriminator's logits (N, …) in fp32 for other images, with this step's labels and condition."""
        inputs = self.discriminator.inputs(self.labels, self.condition)
        return cast("Tensor", self.discriminator(images, **inputs).float())


class Penalty(nn.Module):
    """Extra terms for either network, composable with any loss and with each other.

    A module, so it may own parameters (trained with the discriminator's optimizer) and buffers;
    both are checkpointed. A subclass overrides what it needs; everything here does nothing.
    """

    Config: ClassVar[type[PenaltyConfig]] = PenaltyConfig

    cuda_graph_safe: ClassVar[bool] = False
    """Whether its work on the device is the same at each step, as a CUDA graph needs (see `RecordableTrainer`)."""

    def __init__(self, config: PenaltyConfig, *, info: DatasetInfo) -> None:
        super().__init__()
        self.config = config
        self.info = info

    def setup(self, generator: Generator, discriminator: Discriminator) -> None:
        """Create modules that depend on the networks, such as a head on features; called once, after they are built.

        Both networks are on their device, to which modules created here are moved. Compute the
        discriminator's features in evaluation mode and without gradients, so that it stays unchanged.

        Raises:
            ValueError: this penalty does not suit these networks; the text says why, and which would.
        """

    def transform_images(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """Transform images, real and fake alike, before the discriminator sees them; must be differentiable."""
        return images

    def discriminator_term(self, step: PenaltyStep) -> Tensor | None:
        """Return a scalar to add to the discriminator's loss, before `weight`; None for no term."""
        return None

    def generator_term(self, step: PenaltyStep) -> Tensor | None:
        """Return a scalar to add to the generator's loss, before `weight`; None for no term."""
        return None

    def after_discriminator_step(self, discriminator: Discriminator) -> None:
        """Change the discriminator's weights after its update, as clipping does."""

    def metrics(self) -> dict[str, Tensor]:
        """Return scalars to log at this step, such as a varying strength; they stay on the device."""
        return {}
