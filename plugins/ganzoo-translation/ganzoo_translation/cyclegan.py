"""The trainer of CycleGAN (arXiv 1703.10593)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeVar, cast

import torch
from torch import Tensor

from ganzoo.plugin import (
    Batch,
    Discriminator,
    FakeBatch,
    GANTrainer,
    Generator,
    PenaltyStep,
    RequestError,
    TrainingParts,
)
from ganzoo_translation.configs import CycleGANConfig
from ganzoo_translation.image_pool import ImagePool
from ganzoo_translation.random_crop import enlarged_and_cropped, random_places

Metrics = dict[str, Tensor]
FakeT = TypeVar("FakeT", bound=FakeBatch)


@dataclass(frozen=True, kw_only=True)
class BothWays(FakeBatch):
    """Samples made of conditions, and in `back` conditions made of samples."""

    back: FakeBatch

    def detach(self) -> BothWays:
        """Return the same samples without the generators' graph."""
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
    and no image is taken out of the pool in the minibatch that put it there, which only minibatches of several images
    could tell. An epoch counts the images of the samples' domain, theirs those of the larger domain: where there are
    more conditions than samples, multiply `run.epochs` by the ratio of both. A penalty's terms are those of each
    generator or each discriminator.
    """

    Config = CycleGANConfig
    config: CycleGANConfig

    def __init__(self, config: CycleGANConfig, *, parts: TrainingParts) -> None:
        super().__init__(config, parts=parts)
        for name, penalty in parts.penalties.items():
            if penalty.state_dict() and (penalty.has_term("discriminator") or penalty.has_term("generator")):
                raise RequestError(
                    f'penalties: "{name}" keeps what it learns of one generator or discriminator, and cyclegan trains '
                    "two of each: leave it out"
                )
        self.pools = {
            ending: ImagePool(config.pool_size, parts.networks[f"generator{ending}"].info.image.shape, parts.rng.device)
            for ending in ("", "_back")
        }

    def compute_step(self, batch: Batch) -> Metrics:
        """Update the generators on the first minibatch, then the discriminators on it and the others."""
        if self.config.enlarge > 1:
            batch = self.cropped(batch)
        first, *others = batch.split(self.config.batches_per_step)
        fake = self.generate(first) if self.config.fake_batch == "reuse" else None
        metrics = self.update_generator(first, fake)
        for _ in range(self.config.generator_steps - 1):
            metrics |= self.update_generator(first)
        metrics |= self.update_discriminator(first, fake)
        for minibatch in others:
            metrics |= self.update_discriminator(minibatch)
        return metrics | self.penalties.metrics()

    def cropped(self, batch: Batch) -> Batch:
        """Return the images of both domains enlarged and cropped, each at random places of its own."""
        assert batch.condition is not None
        places = random_places(self, batch, 4)
        real, condition = (
            enlarged_and_cropped(images, self.config.enlarge, own)
            for images, own in zip((batch.real, batch.condition), places.chunk(2, 1), strict=True)
        )
        return replace(batch, real=real, condition=condition)

    def generate(self, batch: Batch, role: str = "generator") -> BothWays:
        """Translate conditions to samples, and samples to conditions."""
        there = super().generate(batch, role)
        back = super().generate(self.config.batch_for("generator_back", batch), "generator_back")
        return BothWays(**vars(there), back=back)

    def translate(self, images: Tensor, role: str) -> Tensor:
        """Return images (N, …) after a generator."""
        return super().generate(Batch(images, condition=images), role).samples

    def ways(self, batch: Batch, fake: FakeBatch) -> Iterator[Way]:
        """Yield both ways."""
        assert isinstance(fake, BothWays)
        yield Way("", batch, fake)
        yield Way("_back", self.config.batch_for("generator_back", batch), fake.back)

    def update_discriminator(self, batch: Batch, fake: FakeBatch | None = None) -> Metrics:
        """Update both discriminators once on real images and on those that the pools give for the generated ones."""
        parts = batch.split(self.micro_batches)
        made = [cast("BothWays", fake or self.generate_detached(part)) for part in parts]
        there, back = self.pooled("", made), self.pooled("_back", [each.back for each in made])
        shown = (replace(each, back=other) for each, other in zip(there, back, strict=True))
        return self.minimize("discriminator", batch, lambda part: self.discriminator_objective(part, next(shown)))

    def pooled(self, ending: str, made: Sequence[FakeT]) -> list[FakeT]:
        """Return the images of all micro-batches after one exchange with a pool, which thus sees the minibatch."""
        images = torch.cat([each.samples for each in made])
        shown = self.pools[ending].exchange(images, self.parts.rng, self.parts.world).chunk(len(made))
        return [replace(each, samples=samples) for each, samples in zip(made, shown, strict=True)]

    def discriminator_objective(self, batch: Batch, fake: FakeBatch) -> tuple[Tensor, Metrics]:
        """Return the sum of both discriminators' losses and the penalties' terms, and the metrics of it."""
        penalties = self.penalties.due("discriminator")
        metrics: Metrics = {}
        losses = []
        for ending, real, made in self.ways(batch, fake):
            role = f"discriminator{ending}"
            seen = self.augment(real.real)
            real_logits = self.logits(seen, real, role)
            augmented = self.augment(made.samples)
            logits = real_logits, self.logits(augmented, made, role)
            loss = self.discriminator_loss(*logits)
            step = self.step_of(ending, real, made, (seen, augmented), logits)
            terms = self.penalty_terms("discriminator", step, penalties)
            losses += [loss, *terms.values()]
            metrics[f"loss/{role}"] = loss.detach()
            metrics |= self.output_metrics(*logits, ending)
            metrics |= {f"{name}{ending}": term.detach() for name, term in terms.items()}
        return torch.stack(losses).sum(), metrics

    def generator_objective(self, batch: Batch, fake: FakeBatch) -> tuple[Tensor, Metrics]:
        """Return the sum of both generators' weighted losses, cycles, identities and penalties, and the metrics."""
        penalties = self.penalties.due("generator")
        metrics: Metrics = {}
        terms = []
        for ending, real, made in self.ways(batch, fake):
            role = f"discriminator{ending}"
            with torch.no_grad():
                seen = self.augment(real.real)
                real_logits = self.logits(seen, real, role) if self.needs_real_logits else None
            augmented = self.augment(made.samples)
            logits = real_logits, self.logits(augmented, made, role)
            loss = self.generator_loss(*logits)
            step = self.step_of(ending, real, made, (seen, augmented), logits)
            metrics[f"loss/generator{ending}"] = loss.detach()
            own = self.penalty_terms("generator", step, penalties)
            metrics |= {f"{name}{ending}": term.detach() for name, term in own.items()}
            terms += [self.config.adversarial_weight * loss, *own.values()]
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

    def step_of(
        self,
        ending: str,
        batch: Batch,
        fake: FakeBatch,
        seen: tuple[Tensor, Tensor],
        logits: tuple[Tensor | None, Tensor],
    ) -> PenaltyStep:
        """Return what penalties may look at, of the networks whose names end so."""
        role = f"discriminator{ending}"
        return replace(
            self.penalty_step(batch, fake, seen, logits, role),
            generator=cast("Generator", self.parts.networks[f"generator{ending}"]),
            discriminator=cast("Discriminator", self.parts.networks[role]),
        )

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
