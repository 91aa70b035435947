"""Base class of penalties: extra loss terms for either network, composable with any loss."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from ganzoo.components.network import Discriminator, Generator
from ganzoo.components.options import PenaltyConfig
from ganzoo.components.schedule import Progress, scheduled, value_at
from ganzoo.components.spec import DatasetInfo
from ganzoo.components.world import World

Kind = Literal["real", "fake"]
Role = Literal["generator", "discriminator"]
Place = Literal["unaugmented", "augmented"]


@dataclass(frozen=True)
class PenaltyStep:
    """Inputs of a penalty in one update of one network.

    `real` and `fake` are samples (N, …) as the discriminator sees them, `unaugmented_real` and `unaugmented_fake` are
    these before any `transform_images`; `augment` transforms other samples. `latents` (N, latent_dim) made `fake`. In a
    discriminator update `fake` is detached; in a generator update it leads back to the generator. `rng` is the
    trainer's random number generator, on the device: randomness from elsewhere breaks resuming. With several processes
    all samples are this process's shard; use `world.all_reduce_mean` for a statistic over the minibatch. `step` counts
    the training steps before this one and `images_seen` their real samples, over all processes, of the `total_steps` of
    the run: scalars on the device, so that a CUDA graph holds none of their values. `low_precision` says that autocast
    computed `real_logits` and `fake_logits`. `logits_of` returns the trainer's logits (N, …) of other samples in fp32,
    possibly of several discriminators; None: those of `discriminator`.
    """

    generator: Generator
    discriminator: Discriminator
    real: Tensor
    fake: Tensor
    unaugmented_real: Tensor
    unaugmented_fake: Tensor
    latents: Tensor
    labels: Tensor | None
    condition: Tensor | None
    real_logits: Tensor | None
    fake_logits: Tensor
    rng: torch.Generator
    world: World = field(default_factory=World)
    augment: Callable[[Tensor], Tensor] = lambda samples: samples
    step: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.int64))
    images_seen: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.int64))
    total_steps: int = 1
    low_precision: bool = False
    logits_of: Callable[[Tensor], Tensor] | None = None

    def differentiable_logits(self, kind: Kind, at: Place = "unaugmented") -> tuple[Tensor, Tensor]:
        """Return logits (N, …) of the real or generated samples in fp32, and these samples, to differentiate at.

        The logits of this step are reused if possible: if they are in fp32, and of samples that the trainer tracks
        because the penalty `differentiates_at` them.
        """
        seen, logits = (self.real, self.real_logits) if kind == "real" else (self.fake, self.fake_logits)
        samples = seen if at == "augmented" else getattr(self, f"unaugmented_{kind}")
        if not samples.requires_grad:
            samples = samples.detach().requires_grad_(True)
            seen, logits = samples if at == "augmented" else self.augment(samples), None
        if logits is None or not logits.requires_grad or self.low_precision:
            logits = self.logits(seen)
        return logits, samples

    def logits(self, images: Tensor) -> Tensor:
        """Return the logits (N, …) of other images in fp32, with this step's labels and condition."""
        if self.logits_of is not None:
            return self.logits_of(images)
        inputs = self.discriminator.inputs(self.labels, self.condition)
        return cast("Tensor", self.discriminator(images, **inputs).float())

    def features(self, images: Tensor) -> list[Tensor]:
        """Return the discriminator's features of images, with those of this step's labels and condition it takes."""
        taken = inspect.signature(self.discriminator.features).parameters
        inputs = self.discriminator.inputs(self.labels, self.condition)
        return self.discriminator.features(images, **{name: rows for name, rows in inputs.items() if name in taken})


class Penalty(nn.Module):
    """Extra terms for either network, composable with any loss and with each other.

    A module, so it may own parameters (trained with the discriminator's optimizer) and buffers;
    both are checkpointed. A subclass overrides what it needs; everything here does nothing.
    """

    Config: ClassVar[type[PenaltyConfig]] = PenaltyConfig

    differentiates_at: ClassVar[frozenset[Kind]] = frozenset()
    """Samples that `discriminator_term` differentiates logits at, "real" or "fake"; a trainer then tracks them."""
    from_latents: ClassVar[bool] = False
    """Whether `generator_term` uses only latents, labels and condition; in a separate update nothing else is then
    computed, and the samples are empty."""
    cuda_graph_safe: ClassVar[bool] = False
    """Whether its work on the device is the same at each step, as a CUDA graph needs (see `OptimizingTrainer`)."""

    def __init__(self, config: PenaltyConfig, *, info: DatasetInfo) -> None:
        super().__init__()
        self.config = config
        self.info = info
        for name, value in scheduled(config).items():  # a tensor that is changed in place serves a CUDA graph
            self.register_buffer(f"{name}_now", torch.tensor(value_at(value, Progress(0, 1, 1))), persistent=False)

    def option(self, name: str) -> Any:
        """Return an option as it is at this step; a number with a schedule as a tensor on the device."""
        return self._buffers.get(f"{name}_now", getattr(self.config, name))

    def begin_step(self, at: Progress) -> None:
        """Set the scheduled options for a step; the trainer calls this before each."""
        for name, value in scheduled(self.config).items():
            self.get_buffer(f"{name}_now").fill_(value_at(value, at))

    def setup(self, generator: Generator, discriminator: Discriminator) -> None:
        """Create modules that depend on the networks, such as a head on features; called once, after they are built.

        Both networks are on their device, to which modules created here are moved. The networks must stay unchanged;
        `discriminator.feature_shapes()` returns the shapes to build on.

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

    def has_term(self, role: Role) -> bool:
        """Return whether the penalty has a term for a network."""
        method = f"{role}_term"
        return getattr(type(self), method) is not getattr(Penalty, method)

    def after_discriminator_step(self, discriminator: Discriminator) -> None:
        """Change the discriminator's weights after its update, as clipping does."""

    def metrics(self) -> dict[str, Tensor]:
        """Return scalars to log at this step, such as a varying strength; they stay on the device.

        The figure `strength` of the penalty `center` is logged as `penalty/center_strength`.
        """
        return {}
