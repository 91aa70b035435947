"""The trainer of CycleGAN (arXiv 1703.10593)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ganzoo.plugin import Batch, FakeBatch, GANTrainer, RequestError, TrainingParts
from ganzoo_translation.configs import CycleGANConfig
from ganzoo_translation.image_pool import ImagePool

Metrics = dict[str, Tensor]


@dataclass(frozen=True)
class BothWays(FakeBatch):
    """Samples made of conditions, and in `back` conditions made of samples."""

    back: FakeBatch | None = None

    def detach(self) -> BothWays:
        """Return the same samples without the generators' graph."""
        assert self.back is not None
        return replace(self, samples=self.samples.detach(), back=self.back.detach())


class Way(NamedTuple):
    """One way: the ending of its networks' names, and real and generated images of the domain that it leads to."""

    ending: str
    real: Batch
    fake: FakeBatch


class CycleGAN(GANTrainer):
    """Both generators together, then both discriminators, on generated images of the same step or of the pools.

    With the loss `least_squares` all four networks minimize what the authors' do; theirs scale the identity term by
    λ / 2, here it has its own weight. Differs from their code: the rate falls with every step rather than every epoch,
    images are mirrored but not enlarged to 286 pixels and cropped at random, and no image is taken out of the pool in
    the minibatch that put it there, which only minibatches of several images could tell.
    """

    Config = CycleGANConfig
    config: CycleGANConfig

    def __init__(self, config: CycleGANConfig, *, parts: TrainingParts) -> None:
        super().__init__(config, parts=parts)
        for name, penalty in parts.penalties.items():
            if penalty.has_term("discriminator") or penalty.has_term("generator"):
                raise RequestError(
                    f'penalties: "{name}" has a term for one generator and one discriminator, and cyclegan trains two '
                    "of each: leave it out; penalties that change images alone, such as augmentation, do go with it"
                )
        self.pools = {
            ending: ImagePool(config.pool_size, parts.networks[f"generator{ending}"].info.image.shape, parts.rng.device)
            for ending in ("", "_back")
        }

    def compute_step(self, batch: Batch) -> Metrics:
        """Update the generators on the first minibatch, then the discriminators on it and the others."""
        first, *others = batch.split(self.config.batches_per_step)
        fake = self.generate(first) if self.config.fake_batch == "reuse" else None
        metrics = self.update_generator(first, fake)
        for _ in range(self.config.generator_steps - 1):
            metrics |= self.update_generator(first)
        metrics |= self.update_discriminator(first, fake)
        for minibatch in others:
            metrics |= self.update_discriminator(minibatch)
        return metrics | self.penalties.metrics()

    def generate(self, batch: Batch, role: str = "generator") -> BothWays:
        """Translate conditions to samples, and samples to conditions."""
        there = super().generate(batch, role)
        back = super().generate(self.config.batch_for("generator_back", batch), "generator_back")
        return BothWays(there.samples, there.latents, there.labels, there.condition, back)

    def translate(self, images: Tensor, role: str) -> Tensor:
        """Return images (N, …) after a generator."""
        return super().generate(Batch(images, condition=images), role).samples

    def ways(self, batch: Batch, fake: FakeBatch) -> Iterator[Way]:
        """Yield both ways."""
        assert isinstance(fake, BothWays)
        assert fake.back is not None
        yield Way("", batch, fake)
        yield Way("_back", self.config.batch_for("generator_back", batch), fake.back)

    def discriminator_objective(self, batch: Batch, fake: FakeBatch) -> tuple[Tensor, Metrics]:
        """Return the sum of both discriminators' losses, and the metrics of it."""
        metrics: Metrics = {}
        losses = []
        for ending, real, made in self.ways(batch, fake):
            role = f"discriminator{ending}"
            samples = self.pools[ending].exchange(made.samples, self.parts.rng, self.parts.world)
            real_logits = self.logits(self.augment(real.real), real, role)
            fake_logits = self.logits(self.augment(samples), made, role)
            losses.append(self.discriminator_loss(real_logits, fake_logits))
            metrics[f"loss/{role}"] = losses[-1].detach()
            metrics[f"probability/real{ending}"] = real_logits.detach().sigmoid().mean()
            metrics[f"probability/fake{ending}"] = fake_logits.detach().sigmoid().mean()
        return torch.stack(losses).sum(), metrics

    def generator_objective(self, batch: Batch, fake: FakeBatch) -> tuple[Tensor, Metrics]:
        """Return the weighted sum of both generators' losses, the cycles and the identities, and the metrics of it."""
        metrics: Metrics = {}
        terms = []
        for ending, real, made in self.ways(batch, fake):
            role = f"discriminator{ending}"
            with torch.no_grad():
                real_logits = self.logits(self.augment(real.real), real, role)
            loss = self.generator_loss(real_logits, self.logits(self.augment(made.samples), made, role))
            metrics[f"loss/generator{ending}"] = loss.detach()
            terms.append(self.config.adversarial_weight * loss)
        (_, there, made_there), (_, back, made_back) = self.ways(batch, fake)
        cycle = difference(self.translate(made_there.samples, "generator_back"), back.real)
        cycle = cycle + difference(self.translate(made_back.samples, "generator"), there.real)
        metrics["loss/cycle"] = cycle.detach()
        terms.append(self.config.cycle_weight * cycle)
        if self.config.identity_weight:
            identity = difference(self.translate(there.real, "generator"), there.real)
            identity = identity + difference(self.translate(back.real, "generator_back"), back.real)
            metrics["loss/identity"] = identity.detach()
            terms.append(self.config.identity_weight * identity)
        return torch.stack(terms).sum(), metrics

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the optimizers and counters, and the pools of images."""
        pools = {f"pool{ending}": pool.images.clone() for ending, pool in self.pools.items()}
        return {**super().state_dict(), "pools": pools}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave.

        Raises:
            ValueError: it is of another trainer, or the images are of another shape.
        """
        super().load_state_dict(state)
        for ending, pool in self.pools.items():
            pool.images = state["pools"][f"pool{ending}"]


def difference(images: Tensor, others: Tensor) -> Tensor:
    """Return the mean absolute difference of images."""
    return (images - others).abs().mean()
