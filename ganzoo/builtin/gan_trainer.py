"""The trainer of the original GAN algorithm, and the toolkit that trainers derived from it use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ganzoo.builtin.configs import GANTrainerConfig
from ganzoo.components.dataset import Batch
from ganzoo.components.network import Generator
from ganzoo.components.penalty import Penalty, PenaltyStep
from ganzoo.components.schedule import Progress, scheduled
from ganzoo.components.trainer import Failure, RecordableTrainer, TrainingParts
from ganzoo.errors import RequestError
from ganzoo.runtime.restored import check_like
from ganzoo.sampling.generate import batch_norm_mode
from ganzoo.training.ema import EMA
from ganzoo.training.non_finite import NonFiniteGuard
from ganzoo.training.optimizer_step import OptimizerStep, frozen, skips_non_finite

Metrics = dict[str, Tensor]
Objective = Callable[[Batch], tuple[Tensor, Metrics]]
Role = Literal["generator", "discriminator"]


@dataclass(frozen=True)
class FakeBatch:
    """Generated samples (N, …), the latents (N, latent_dim) that made them, and labels and condition of their batch."""

    samples: Tensor
    latents: Tensor
    labels: Tensor | None = None
    condition: Tensor | None = None

    def detach(self) -> FakeBatch:
        """Return the same samples without the generator's graph."""
        return replace(self, samples=self.samples.detach())


class GANTrainer(RecordableTrainer):
    """Algorithm 1 of arXiv 1406.2661: k updates of the discriminator, then one of the generator.

    The discriminator learns from detached images and is frozen while the generator learns, so that neither backward
    pass computes gradients that nobody uses; the generator's update reuses the images of the last discriminator update
    unless `fake_batch = "fresh"`. None of this changes what is computed.

    A trainer derived from this one overrides the objectives or the order of the updates, and uses the methods under
    "Toolkit".
    """

    Config = GANTrainerConfig
    config: GANTrainerConfig

    def __init__(self, config: GANTrainerConfig, *, parts: TrainingParts) -> None:
        super().__init__(config, parts=parts)
        self.steps = 0
        """Training steps taken."""
        self.micro_batches = config.batch_size // (config.micro_batch_size or config.batch_size)
        if config.batch_size // parts.world.world_size % self.micro_batches:
            count = parts.world.world_size
            raise RequestError(f"trainer.micro_batch_size: set it to a multiple of {count}, the number of processes")
        self.generators, self.discriminators = nn.ModuleDict(parts.generators), nn.ModuleDict(parts.discriminators)
        of_penalties = {
            f"penalty_{name}.{key}": parameter
            for name, penalty in parts.penalties.items()
            for key, parameter in penalty.named_parameters()
        }
        self.guard = NonFiniteGuard(parts.rng.device)
        kinds: dict[Role, Mapping[str, nn.Module]] = {
            "generator": parts.generators,
            "discriminator": parts.discriminators,
        }
        self.optimizer_steps = {
            role: OptimizerStep(
                role,
                networks,
                getattr(config, f"{role}_optimizer"),
                at=self.progress,
                guard=self.guard,
                others=of_penalties if role == "discriminator" else {},
                clip=getattr(config, f"{role}_grad_clip"),
                scaling=parts.loss_scaling,
                world=parts.world,
                lazy=[each.config.interval for each in parts.penalties.values() if own_update_of(each, role)],
            )
            for role, networks in kinds.items()
        }
        averages = config.ema_decay or config.ema_half_life is not None
        self.emas = {
            name: EMA(
                generator,
                config.ema_decay,
                half_life=config.ema_half_life,
                ramp=config.ema_ramp,
                start=config.ema_start,
                copies_buffers=config.ema_buffers == "copy",
            )
            for name, generator in parts.generators.items()
            if averages
        }
        self._rng_state = parts.rng.get_state()
        self._now = torch.zeros(2, dtype=torch.int64, device=parts.rng.device)  # steps and images seen
        with parts.autocast():
            self._low_precision = torch.is_autocast_enabled(parts.rng.device.type)

    # A training step, top to bottom

    def begin_step(self) -> None:
        """Set what changes from step to step, and keep the state of the random numbers in case it is not finite."""
        now = self.progress
        recorded = self.work != self.compute_step
        for step in self.optimizer_steps.values():
            step.set_scheduled(now, on_device=recorded)
        for penalty in self.parts.penalties.values():
            penalty.begin_step(now)
        for value, seen in zip(self._now, (now.step, now.images_seen), strict=True):
            value.fill_(seen)
        self._rng_state = self.parts.rng.get_state()

    def compute_step(self, batch: Batch) -> Metrics:
        """Make `discriminator_steps` updates of the discriminator and `generator_steps` of the generator."""
        minibatches = batch.split(self.config.batches_per_step)
        if self.config.schedule == "alternate_minibatches":
            metrics = self.alternate_minibatches(minibatches)
        else:
            metrics = self.discriminator_first(minibatches)
        for name, penalty in self.parts.penalties.items():
            metrics |= {f"penalty/{name}_{key}": value.detach() for key, value in penalty.metrics().items()}
        return metrics

    def end_step(self) -> None:
        """Update the average and count the step."""
        self.update_ema()
        self.steps += 1

    def discriminator_first(self, minibatches: list[Batch]) -> Metrics:
        """Update the discriminator on each minibatch, then the generator against the last one (algorithm 1)."""
        *earlier, last = minibatches
        metrics: Metrics = {}
        for minibatch in earlier:
            metrics |= self.update_discriminator(minibatch)
        fake = self.generate(last) if self.config.fake_batch == "reuse" else None
        metrics |= self.update_discriminator(last, fake)
        metrics |= self.update_generator(last, fake)
        for _ in range(self.config.generator_steps - 1):
            metrics |= self.update_generator(last)
        return metrics

    def alternate_minibatches(self, minibatches: list[Batch]) -> Metrics:
        """Update the generator on the first minibatch and the discriminator on the others (the DCGAN authors' code)."""
        first, *others = minibatches
        metrics: Metrics = {}
        for _ in range(self.config.generator_steps):
            metrics |= self.update_generator(first)
        for minibatch in others:
            metrics |= self.update_discriminator(minibatch)
        return metrics

    def update_discriminator(self, batch: Batch, fake: FakeBatch | None = None) -> Metrics:
        """Update the discriminator and the penalties' parameters once, or on real and then on generated images.

        Without `fake`, images are generated; then come the updates of penalties that have their own.
        """
        separate = self.config.discriminator_update == "separate"
        objective = self.learn_from_real_first if separate else self.discriminator_objective
        metrics = self.minimize(
            "discriminator", batch, lambda part: objective(part, (fake or self.generate_detached(part)).detach())
        )
        for name in self.penalties_due("discriminator", own_update=True):
            metrics |= self.minimize("discriminator", batch, partial(self.own_objective, "discriminator", name))
        for penalty in self.parts.penalties.values():
            for discriminator in self.parts.discriminators.values():
                penalty.after_discriminator_step(discriminator)
        return metrics

    def update_generator(self, batch: Batch, fake: FakeBatch | None = None) -> Metrics:
        """Update the generator once, by the discriminator as it stands; without `fake`, images are generated.

        Then come the updates of penalties that have their own.
        """
        with frozen(self.discriminators):
            metrics = self.minimize(
                "generator", batch, lambda part: self.generator_objective(part, fake or self.generate(part))
            )
            for name in self.penalties_due("generator", own_update=True):
                metrics |= self.minimize("generator", batch, partial(self.own_objective, "generator", name))
        return metrics

    # Objectives: what the two networks minimize

    def discriminator_objective(self, batch: Batch, fake: FakeBatch) -> tuple[Tensor, Metrics]:
        """Return what the discriminator minimizes, its loss and the penalties' terms, and the metrics of it."""
        penalties = self.penalties_due("discriminator")
        step = self.discriminator_step(batch, fake, penalties)
        assert step.real_logits is not None
        return self._discriminator_total(step, step.real_logits, penalties)

    def learn_from_real_first(self, batch: Batch, fake: FakeBatch) -> tuple[Tensor, Metrics]:
        """Update by the real images' part of the loss; return what is left to learn from the generated ones."""
        penalties = self.penalties_due("discriminator")
        batch, fake = self.tracked(batch, fake, penalties)
        real, augmented = self.augment(batch.real), self.augment(fake.samples)
        real_logits = self.logits(real.detach(), batch)  # the penalties differentiate after this update
        with torch.no_grad():
            fake_logits = self.logits(augmented, fake)
        self.optimizer_step("discriminator", self.discriminator_loss(real_logits, fake_logits))
        real_logits, fake_logits = real_logits.detach(), self.logits(augmented, fake)
        step = self.penalty_step(batch, fake, real, augmented, real_logits, fake_logits)
        return self._discriminator_total(step, real_logits, penalties)

    def _discriminator_total(
        self, step: PenaltyStep, real_logits: Tensor, penalties: Mapping[str, Penalty]
    ) -> tuple[Tensor, Metrics]:
        loss = self.discriminator_loss(real_logits, step.fake_logits)
        terms = self.penalty_terms("discriminator", step, penalties)
        metrics = {
            "loss/discriminator": loss.detach(),
            "probability/real": real_logits.detach().sigmoid().mean(),
            "probability/fake": step.fake_logits.detach().sigmoid().mean(),
            **{name: term.detach() for name, term in terms.items()},
        }
        return total(loss, *terms.values()), metrics

    def generator_objective(self, batch: Batch, fake: FakeBatch) -> tuple[Tensor, Metrics]:
        """Return what the generator minimizes, its loss and the penalties' terms, and the metrics of it."""
        step = self.generator_step(batch, fake)
        loss = self.generator_loss(step.real_logits, step.fake_logits)
        terms = self.penalty_terms("generator", step, self.penalties_due("generator"))
        metrics = {"loss/generator": loss.detach(), **{name: term.detach() for name, term in terms.items()}}
        return total(loss, *terms.values()), metrics

    def own_objective(self, role: Role, name: str, batch: Batch) -> tuple[Tensor, Metrics]:
        """Return the term of one penalty on new generated images, for an update of its own, and the metrics of it."""
        penalties = {name: self.parts.penalties[name]}
        if role == "discriminator":
            step = self.discriminator_step(batch, self.generate_detached(batch), penalties)
        else:
            step = self.generator_step(batch, self.generate(batch))
        terms = self.penalty_terms(role, step, penalties)
        return total(step.fake_logits.sum() * 0, *terms.values()), {key: term.detach() for key, term in terms.items()}

    def discriminator_step(self, batch: Batch, fake: FakeBatch, penalties: Mapping[str, Penalty]) -> PenaltyStep:
        """Return what the discriminator sees and says, so that the penalties can differentiate it."""
        batch, fake = self.tracked(batch, fake, penalties)
        real, augmented = self.augment(batch.real), self.augment(fake.samples)
        real_logits, fake_logits = self.logits(real, batch), self.logits(augmented, fake)
        return self.penalty_step(batch, fake, real, augmented, real_logits, fake_logits)

    def generator_step(self, batch: Batch, fake: FakeBatch) -> PenaltyStep:
        """Return what the discriminator sees and says, differentiable in the generator alone."""
        augmented = self.augment(fake.samples)
        fake_logits = self.logits(augmented, fake)
        with torch.no_grad():
            real = self.augment(batch.real)
            real_logits = self.logits(real, batch) if self.parts.loss.needs_real_logits else None
        return self.penalty_step(batch, fake, real, augmented, real_logits, fake_logits)

    def discriminator_loss(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """Return the loss on the minibatch of all processes: some losses compare its images with each other."""
        gather = self.parts.world.all_gather
        return self.parts.loss.discriminator_loss(gather(real_logits), gather(fake_logits))

    def generator_loss(self, real_logits: Tensor | None, fake_logits: Tensor) -> Tensor:
        """Return the loss on the minibatch of all processes."""
        gather = self.parts.world.all_gather
        real_logits = None if real_logits is None else gather(real_logits)
        return self.parts.loss.generator_loss(real_logits, gather(fake_logits))

    # Toolkit

    def generate(self, batch: Batch, role: str = "generator") -> FakeBatch:
        """Generate as many samples as `batch` has, with its labels and condition, so that these come as in the data."""
        generator = cast("Generator", self.parts.networks[role])
        with self.sharded_rng(batch):
            latents = generator.sample_latents(len(batch), self.parts.rng)
        with self.parts.autocast():
            samples = generator(latents, **generator.inputs(batch.labels, batch.condition))
        return FakeBatch(samples.float(), latents, batch.labels, batch.condition)

    @torch.no_grad()
    def generate_detached(self, batch: Batch) -> FakeBatch:
        """Generate images that only the discriminator learns from: without the generator's graph."""
        if self.config.fake_statistics == "batch":
            return self.generate(batch)
        with batch_norm_mode(self.parts.generator, "running"):
            return self.generate(batch)

    def tracked(self, batch: Batch, fake: FakeBatch, penalties: Mapping[str, Penalty]) -> tuple[Batch, FakeBatch]:
        """Return both with gradients to the samples that one of the penalties differentiates at."""
        at = {kind for penalty in penalties.values() for kind in penalty.differentiates_at}
        if "real" in at:
            batch = replace(batch, real=batch.real.detach().requires_grad_(True))
        if "fake" in at and not fake.samples.requires_grad:
            fake = replace(fake, samples=fake.samples.detach().requires_grad_(True))
        return batch, fake

    def augment(self, samples: Tensor) -> Tensor:
        """Return samples (N, …) as the penalties' augmentations let the discriminator see them."""
        with self.sharded_rng(samples):
            return self._transform(samples)

    def _transform(self, samples: Tensor) -> Tensor:
        for penalty in self.parts.penalties.values():
            samples = penalty.transform_images(samples, self.parts.rng)
        return samples

    def logits(self, samples: Tensor, beside: Batch | FakeBatch, role: str = "discriminator") -> Tensor:
        """Return the discriminator's logits (N, …) in fp32, as losses lose too much in less.

        Args:
            samples: (N, …), real or generated.
            beside: gives the labels and the condition.
            role: name of the discriminator.
        """
        discriminator = self.parts.networks[role]
        with self.parts.autocast():
            logits = discriminator(samples, **discriminator.inputs(beside.labels, beside.condition))
        return cast("Tensor", logits.float())

    def penalty_step(
        self,
        batch: Batch,
        fake: FakeBatch,
        real: Tensor,
        augmented: Tensor,
        real_logits: Tensor | None,
        fake_logits: Tensor,
    ) -> PenaltyStep:
        """Return what the penalties may look at; `real` and `augmented` are samples as the discriminator sees them."""
        return PenaltyStep(
            generator=self.parts.generator,
            discriminator=self.parts.discriminator,
            real=real,
            fake=augmented,
            unaugmented_real=batch.real,
            unaugmented_fake=fake.samples,
            latents=fake.latents,
            labels=fake.labels,
            condition=fake.condition,
            real_logits=real_logits,
            fake_logits=fake_logits,
            rng=self.parts.rng,
            world=self.parts.world,
            augment=self._transform,  # within the sharded_rng that the terms are computed in
            step=self._now[0],
            images_seen=self._now[1],
            total_steps=self.parts.total_steps,
            low_precision=self._low_precision,
        )

    def penalties_due(self, role: Role, *, own_update: bool = False) -> dict[str, Penalty]:
        """Return the penalties whose terms for a network are taken at this step, in its update or in their own."""
        return {
            name: penalty
            for name, penalty in self.parts.penalties.items()
            if self.steps % penalty.config.interval == 0
            and (own_update_of(penalty, role) if own_update else not penalty.config.own_update)
        }

    def penalty_terms(self, role: Role, step: PenaltyStep, penalties: Mapping[str, Penalty]) -> dict[str, Tensor]:
        """Return the weighted terms of penalties for a network, by the names of their metrics."""
        terms = {}
        for name, penalty in penalties.items():
            with self.sharded_rng(step.real):
                term = penalty.generator_term(step) if role == "generator" else penalty.discriminator_term(step)
            if term is not None:
                key = f"penalty/{name}" if role == "discriminator" else f"penalty/{name}_generator"
                terms[key] = term * (penalty.option("weight") * penalty.config.interval)
        return terms

    def minimize(self, role: Role, batch: Batch, objective: Objective) -> Metrics:
        """Move a network down the mean gradient of `objective` on the micro-batches; return its mean metrics."""
        parts = batch.split(self.micro_batches)
        found: list[Metrics] = []
        for part in parts:
            value, metrics = objective(part)
            self.optimizer_steps[role].add(value / len(parts) if len(parts) > 1 else value)
            found.append(metrics)
        self.optimizer_step(role)
        means = found[0] if len(found) == 1 else {key: torch.stack([m[key] for m in found]).mean() for key in found[0]}
        return means | {f"lr/{role}": self.optimizer_steps[role].learning_rate()}

    def optimizer_step(self, role: Role, objective: Tensor | None = None) -> None:
        """Move a network down the gradient of `objective`, a scalar; not at all if that is not finite."""
        self.optimizer_steps[role].step(objective, number=self.steps + 1, rng=self._rng_state)

    def update_ema(self) -> None:
        """Take the generators' weights into their averages, where these are kept."""
        for name, ema in self.emas.items():
            ema.update(self.parts.networks[name], self.progress)

    @property
    def progress(self) -> Progress:
        """How far the run is."""
        images = self.config.batch_size * self.config.batches_per_step
        return Progress(self.steps, self.parts.total_steps, images)

    def sharded_rng(self, samples: Batch | Tensor) -> AbstractContextManager[object]:
        """While open, draws from the run's random numbers are for these samples' share of the minibatch."""
        return self.parts.world.sharded_rng(self.parts.rng, len(samples))

    # State, and what the loop asks for

    def networks(self) -> dict[str, nn.Module]:
        """Return the networks, an average of each generator as `generator_ema`, and the penalties that have a state."""
        averages = {f"{name}_ema": ema.module for name, ema in self.emas.items()}
        stateful = {name: penalty for name, penalty in self.parts.penalties.items() if penalty.state_dict()}
        return {
            **self.parts.networks,
            **averages,
            **{f"penalty_{name}": penalty for name, penalty in stateful.items()},
        }

    def state_dict(self) -> dict[str, Any]:
        """Return the state of optimizers, loss scalers and counters."""
        return {
            "optimizers": {role: step.state_dict() for role, step in self.optimizer_steps.items()},
            "ema_updates": {name: ema.updates for name, ema in self.emas.items()},
            "steps": self.steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        counters = {"ema_updates": dict.fromkeys(self.emas, 0), "steps": 0}
        check_like({key: state[key] for key in counters}, counters, "trainer")
        for role, step in self.optimizer_steps.items():
            step.load_state_dict(state["optimizers"][role])
        for name, ema in self.emas.items():
            ema.updates = state["ema_updates"][name]
        self.steps = state["steps"]

    def expensive_metrics(self) -> Metrics:
        """Return the norm of each network's gradient in its last update."""
        return {f"gradient_norm/{name}": step.gradient_norm() for name, step in self.optimizer_steps.items()}

    def failure(self) -> Failure | None:
        """Return the first update whose loss or gradient was not finite; no weight has moved since."""
        return self.guard.failure()

    def optimizers(self) -> list[Optimizer]:
        """Return the generator's optimizer and the discriminator's."""
        return [step.optimizer for step in self.optimizer_steps.values()]

    def unrecordable(self) -> str | None:
        """Return what in the options, or in a derived class, may make one step differ from another."""
        if type(self) is not GANTrainer:
            return f"{type(self).__name__} may do other work at each step than what it derives from"
        for role, step in self.optimizer_steps.items():
            if others := sorted(scheduled(step.options).keys() - {"lr"}):
                return f"{others[0]} of the {role}'s optimizer has a schedule, and its step takes that as a number"
        for name, penalty in self.parts.penalties.items():
            if penalty.config.interval > 1:
                return f'the penalty "{name}" is not taken at every step (interval)'
            if not penalty.cuda_graph_safe:
                return f'the penalty "{name}" does not say that it does the same at each step'
        if self.parts.loss_scaling and not all(map(skips_non_finite, self.optimizers())):
            return "in fp16, an optimizer that is not fused looks at its gradients on the host at each step"
        return None

    def recorded(self) -> Callable[[], None]:
        """Return what tells the guard, after each replay, of updates like those that were recorded."""
        return self.guard.recorded(lambda: (self.steps + 1, self._rng_state))


def total(loss: Tensor, *terms: Tensor) -> Tensor:
    """Return the sum of a loss and the penalties' terms, each a scalar."""
    return torch.stack([loss, *terms]).sum() if terms else loss


def own_update_of(penalty: Penalty, role: Role) -> bool:
    """Return whether a penalty has a term for a network, in an update of its own."""
    return penalty.config.own_update and penalty.has_term(role)
