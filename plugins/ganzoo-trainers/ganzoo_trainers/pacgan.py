"""PacGAN: a discriminator that judges several samples at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from ganzoo.plugin import Batch, FakeBatch, GANTrainer, Penalty, PenaltyStep
from ganzoo_trainers.configs import PacGANConfig


class PacGAN(GANTrainer):
    """Lin et al. 2018 (arXiv 1712.04086, §2): `adversarial`, between packs of m samples that were drawn independently.

    Any discriminator serves, built for m times the channels, which widens its first layer alone; so do any loss and,
    unless they read labels or codes, any penalty, for which a pack is a sample: there is one logit for each pack.
    Augmentation is of single samples.

    Samples that follow each other in a minibatch make a pack. `batch_size` counts samples, and there are m times fewer
    packs; that of the authors' code counts packs, so multiply it by m to train as they did.
    """

    Config = PacGANConfig
    config: PacGANConfig
    cuda_graph_safe = True

    def discriminator_step(self, batch: Batch, fake: FakeBatch, penalties: Mapping[str, Penalty]) -> PenaltyStep:
        """Return what the discriminator sees and says of packs."""
        return super().discriminator_step(self.pack_real(batch), self.pack_fake(fake), penalties)

    def generator_step(self, batch: Batch, fake: FakeBatch) -> PenaltyStep:
        """Return what the discriminator sees and says of packs, differentiable in the generator alone."""
        return super().generator_step(self.pack_real(batch), self.pack_fake(fake))

    def learn_from_real_first(self, batch: Batch, fake: FakeBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Update by packs of real samples; return what is left to learn from those of generated ones."""
        return super().learn_from_real_first(self.pack_real(batch), self.pack_fake(fake))

    def penalty_terms(
        self, role: Literal["generator", "discriminator"], step: PenaltyStep, penalties: Mapping[str, Penalty]
    ) -> dict[str, Tensor]:
        """Return the weighted terms of penalties, which may augment packs."""
        augment = step.augment
        return super().penalty_terms(
            role, replace(step, augment=lambda packs: self.pack(augment(self.unpack(packs)))), penalties
        )

    def augment(self, samples: Tensor) -> Tensor:
        """Return packs of augmented samples for packs."""
        return self.pack(super().augment(self.unpack(samples)))

    def pack_real(self, batch: Batch) -> Batch:
        """Return the packs of a minibatch, which have no labels."""
        if self.config.packing == 1:
            return batch
        condition = None if batch.condition is None else self.pack(batch.condition)
        return Batch(self.pack(batch.real), condition=condition)

    def pack_fake(self, fake: FakeBatch) -> FakeBatch:
        """Return the packs of generated samples, with the latents and labels of the samples as they were."""
        if self.config.packing == 1:
            return fake
        condition = None if fake.condition is None else self.pack(fake.condition)
        return FakeBatch(self.pack(fake.samples), fake.latents, fake.labels, condition)

    def pack(self, samples: Tensor) -> Tensor:
        """Return (N / m, m · C, …) for samples (N, C, …)."""
        return self._reshaped(samples, len(samples) // self.config.packing)

    def unpack(self, packs: Tensor) -> Tensor:
        """Return (N, C, …) for packs (N / m, m · C, …)."""
        return self._reshaped(packs, len(packs) * self.config.packing)

    def _reshaped(self, samples: Tensor, count: int) -> Tensor:
        reshaped = samples.reshape(count, -1, *samples.shape[2:])
        return reshaped.contiguous(memory_format=torch.channels_last) if reshaped.ndim == 4 else reshaped
