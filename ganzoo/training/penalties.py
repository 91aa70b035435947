"""The penalties of a run: which are due, what they differentiate at, and what they may look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from ganzoo.components.dataset import Batch, FakeBatch
from ganzoo.components.penalty import Penalty, PenaltyStep, Role
from ganzoo.components.schedule import Progress
from ganzoo.components.trainer import TrainingParts


class Penalties:
    """The penalties of a run, by name, at the step that `begin_step` sets."""

    def __init__(self, parts: TrainingParts) -> None:
        self._parts = parts
        self._by_name = parts.penalties
        self._step = 0
        self._now = torch.zeros(2, dtype=torch.int64, device=parts.rng.device)  # steps and images seen
        with parts.autocast():
            self._low_precision = torch.is_autocast_enabled(parts.rng.device.type)

    def begin_step(self, now: Progress) -> None:
        """Set the scheduled options and the counts for a step."""
        if not self._by_name:
            return
        for penalty in self._by_name.values():
            penalty.begin_step(now)
        self._step = now.step
        for value, seen in zip(self._now, (now.step, now.images_seen), strict=True):
            value.fill_(seen)

    def due(self, role: Role, *, own_update: bool = False) -> dict[str, Penalty]:
        """Return those whose terms for a network are taken at this step, in its update or in their own."""
        return {
            name: penalty
            for name, penalty in self._by_name.items()
            if self._step % penalty.config.interval == 0
            and penalty.config.own_update == own_update
            and (penalty.has_term(role) or not own_update)
        }

    def own_intervals(self, role: Role) -> list[int]:
        """Return the intervals of those with updates of their own for a network."""
        return [
            each.config.interval for each in self._by_name.values() if each.config.own_update and each.has_term(role)
        ]

    def parameters(self) -> dict[str, Tensor]:
        """Return the parameters of all, by name."""
        return {
            f"penalty_{name}.{key}": parameter
            for name, penalty in self._by_name.items()
            for key, parameter in penalty.named_parameters()
        }

    def transform(self, samples: Tensor) -> Tensor:
        """Return samples (N, …) after the transforms of all."""
        for penalty in self._by_name.values():
            samples = penalty.transform_images(samples, self._parts.rng)
        return samples

    def metrics(self) -> dict[str, Tensor]:
        """Return what the penalties log, by the names of the metrics."""
        return {
            f"penalty/{name}_{key}": torch.as_tensor(value).detach()  # an option without a schedule is a number
            for name, penalty in self._by_name.items()
            for key, value in penalty.metrics().items()
        }

    def step(
        self, batch: Batch, fake: FakeBatch, seen: tuple[Tensor, Tensor], logits: tuple[Tensor | None, Tensor]
    ) -> PenaltyStep:
        """Return what the penalties may look at.

        Args:
            batch: the real samples.
            fake: the generated ones.
            seen: both as the discriminator sees them.
            logits: of both; None where nobody needs those of the real samples.
        """
        return PenaltyStep(
            generator=self._parts.generator,
            discriminator=self._parts.discriminator,
            real=seen[0],
            fake=seen[1],
            unaugmented_real=batch.real,
            unaugmented_fake=fake.samples,
            latents=fake.latents,
            labels=fake.labels,
            condition=fake.condition,
            real_logits=logits[0],
            fake_logits=logits[1],
            rng=self._parts.rng,
            world=self._parts.world,
            augment=self.transform,  # within the sharded_rng that the terms are computed in
            step=self._now[0],
            images_seen=self._now[1],
            total_steps=self._parts.total_steps,
            low_precision=self._low_precision,
        )


def tracked(batch: Batch, fake: FakeBatch, penalties: Mapping[str, Penalty]) -> tuple[Batch, FakeBatch]:
    """Return both with gradients to the samples that one of the penalties differentiates at."""
    at = {kind for penalty in penalties.values() for kind in penalty.differentiates_at}
    if "real" in at:
        batch = replace(batch, real=batch.real.detach().requires_grad_(True))
    if "fake" in at and not fake.samples.requires_grad:
        fake = replace(fake, samples=fake.samples.detach().requires_grad_(True))
    return batch, fake
