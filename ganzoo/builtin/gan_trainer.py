"""The trainer of the original GAN algorithm, and the toolkit that trainers derived from it use."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ganzoo.builtin.configs import GANTrainerConfig
from ganzoo.components.dataset import Batch
from ganzoo.components.network import Generator
from ganzoo.components.penalty import PenaltyStep
from ganzoo.components.trainer import Failure, RecordableTrainer, TrainingParts
from ganzoo.sampling.generate import batch_norm_mode
from ganzoo.training.ema import EMA
from ganzoo.training.non_finite import NonFiniteGuard
from ganzoo.training.optimizer_step import OptimizerStep, current_lr, frozen, load_optimizer, skips_non_finite

Metrics = dict[str, Tensor]
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
        self.generators, self.discriminators = nn.ModuleDict(parts.generators), nn.ModuleDict(parts.discriminators)
        self.generator_optimizer = config.generator_optimizer.build(self.generators.parameters())
        of_penalties = {
            f"penalty_{name}.{key}": parameter
            for name, penalty in parts.penalties.items()
            for key, parameter in penalty.named_parameters()
        }
        self.discriminator_optimizer = config.discriminator_optimizer.build(
            [*self.discriminators.parameters(), *of_penalties.values()]
        )
        self.guard = NonFiniteGuard(parts.rng.device)
        common: dict[str, Any] = {"guard": self.guard, "scaling": parts.loss_scaling, "world": parts.world}
        self.optimizer_steps = {
            "generator": OptimizerStep(
                "generator", parts.generators, self.generator_optimizer, clip=config.generator_grad_clip, **common
            ),
            "discriminator": OptimizerStep(
                "discriminator",
                parts.discriminators,
                self.discriminator_optimizer,
                others=of_penalties,
                clip=config.discriminator_grad_clip,
                **common,
            ),
        }
        averaged = parts.generators if config.ema_decay else {}
        self.emas = {name: EMA(generator, config.ema_decay) for name, generator in averaged.items()}
        self.steps = 0
        """Training steps taken."""
        self._rng_state = parts.rng.get_state()

    # A training step, top to bottom

    def begin_step(self) -> None:
        """Set the learning rates of this step, and keep the state of the random numbers in case it is not finite."""
        self.set_learning_rates()
        self._rng_state = self.parts.rng.get_state()

    def compute_step(self, batch: Batch) -> Metrics:
        """Make `discriminator_steps` updates of the discriminator and one of the generator."""
        minibatches = batch.split(self.config.batches_per_step)
        if self.config.schedule == "alternate_minibatches":
            metrics = self.alternate_minibatches(minibatches)
        else:
            metrics = self.discriminator_first(minibatches)
        for name, penalty in self.parts.penalties.items():
            metrics |= {f"penalty/{name}_{key}": value.detach() for key, value in penalty.metrics().items()}
        return metrics

    def end_step(self) -> None:
        """Count the step and update the average."""
        self.steps += 1
        self.update_ema()

    def discriminator_first(self, minibatches: list[Batch]) -> Metrics:
        """Update the discriminator on each minibatch, then the generator against the last one (algorithm 1)."""
        *earlier, last = minibatches
        metrics: Metrics = {}
        for minibatch in earlier:
            metrics |= self.update_discriminator(minibatch, self.generate_detached(minibatch))
        if self.config.fake_batch == "reuse":
            fake = self.generate(last)
            metrics |= self.update_discriminator(last, fake)
        else:
            metrics |= self.update_discriminator(last, self.generate_detached(last))
            fake = self.generate(last)
        return metrics | self.update_generator(last, fake)

    def alternate_minibatches(self, minibatches: list[Batch]) -> Metrics:
        """Update the generator on the first minibatch and the discriminator on the others (the DCGAN authors' code)."""
        first, *others = minibatches
        metrics = self.update_generator(first, self.generate(first))
        for minibatch in others:
            metrics |= self.update_discriminator(minibatch, self.generate_detached(minibatch))
        return metrics

    def update_discriminator(self, batch: Batch, fake: FakeBatch) -> Metrics:
        """Update the discriminator and the penalties' parameters once, or on real and then on generated images."""
        if self.config.discriminator_update == "separate":
            total, metrics = self.learn_from_real_first(batch, fake.detach())
        else:
            total, metrics = self.discriminator_objective(batch, fake.detach())
        metrics["lr/discriminator"] = torch.full_like(total, current_lr(self.discriminator_optimizer))
        self.optimizer_step("discriminator", total)
        for penalty in self.parts.penalties.values():
            for discriminator in self.parts.discriminators.values():
                penalty.after_discriminator_step(discriminator)
        return metrics

    def update_generator(self, batch: Batch, fake: FakeBatch) -> Metrics:
        """Update the generator once, by the discriminator as it stands."""
        with frozen(self.discriminators):
            total, metrics = self.generator_objective(batch, fake)
            metrics["lr/generator"] = torch.full_like(total, current_lr(self.generator_optimizer))
            self.optimizer_step("generator", total)
        return metrics

    # Objectives: what the two networks minimize

    def discriminator_objective(self, batch: Batch, fake: FakeBatch) -> tuple[Tensor, Metrics]:
        """Return what the discriminator minimizes, its loss and the penalties' terms, and the metrics of it."""
        real, augmented = self.augment(batch.real), self.augment(fake.samples)
        real_logits, fake_logits = self.logits(real, batch), self.logits(augmented, fake)
        step = self.penalty_step(real, fake, augmented, real_logits, fake_logits)
        return self._discriminator_total(step, real_logits)

    def learn_from_real_first(self, batch: Batch, fake: FakeBatch) -> tuple[Tensor, Metrics]:
        """Update by the real images' part of the loss; return what is left to learn from the generated ones."""
        real, augmented = self.augment(batch.real), self.augment(fake.samples)
        real_logits = self.logits(real, batch)
        with torch.no_grad():
            fake_logits = self.logits(augmented, fake)
        self.optimizer_step("discriminator", self.discriminator_loss(real_logits, fake_logits))
        real_logits, fake_logits = real_logits.detach(), self.logits(augmented, fake)
        step = self.penalty_step(real, fake, augmented, real_logits, fake_logits)
        return self._discriminator_total(step, real_logits)

    def _discriminator_total(self, step: PenaltyStep, real_logits: Tensor) -> tuple[Tensor, Metrics]:
        loss = self.discriminator_loss(real_logits, step.fake_logits)
        terms = self.penalty_terms("discriminator", step)
        metrics = {
            "loss/discriminator": loss.detach(),
            "probability/real": real_logits.detach().sigmoid().mean(),
            "probability/fake": step.fake_logits.detach().sigmoid().mean(),
            **{f"penalty/{name}": term.detach() for name, term in terms.items()},
        }
        return total(loss, terms), metrics

    def generator_objective(self, batch: Batch, fake: FakeBatch) -> tuple[Tensor, Metrics]:
        """Return what the generator minimizes, its loss and the penalties' terms, and the metrics of it."""
        augmented = self.augment(fake.samples)
        fake_logits = self.logits(augmented, fake)
        with torch.no_grad():
            real = self.augment(batch.real)
            real_logits = self.logits(real, batch) if self.parts.loss.needs_real_logits else None
        loss = self.generator_loss(real_logits, fake_logits)
        step = self.penalty_step(real, fake, augmented, real_logits, fake_logits)
        terms = self.penalty_terms("generator", step)
        metrics = {
            "loss/generator": loss.detach(),
            **{f"penalty/{name}_generator": term.detach() for name, term in terms.items()},
        }
        return total(loss, terms), metrics

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

    def augment(self, samples: Tensor) -> Tensor:
        """Return samples (N, …) as the penalties' augmentations let the discriminator see them."""
        with self.sharded_rng(samples):
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
        self, real: Tensor, fake: FakeBatch, augmented: Tensor, real_logits: Tensor | None, fake_logits: Tensor
    ) -> PenaltyStep:
        """Return what the penalties may look at in an update, samples as the discriminator sees them."""
        return PenaltyStep(
            generator=self.parts.generator,
            discriminator=self.parts.discriminator,
            real=real,
            fake=augmented,
            latents=fake.latents,
            labels=fake.labels,
            condition=fake.condition,
            real_logits=real_logits,
            fake_logits=fake_logits,
            rng=self.parts.rng,
            world=self.parts.world,
        )

    def penalty_terms(self, role: Role, step: PenaltyStep) -> dict[str, Tensor]:
        """Return the weighted terms that are due for a network at this step, by the penalty's name."""
        terms = {}
        for name, penalty in self.parts.penalties.items():
            if self.steps % penalty.config.interval == 0:
                with self.sharded_rng(step.real):
                    term = penalty.generator_term(step) if role == "generator" else penalty.discriminator_term(step)
                if term is not None:
                    terms[name] = term * (penalty.config.weight * penalty.config.interval)
        return terms

    def optimizer_step(self, role: Role, objective: Tensor) -> None:
        """Move a network down the gradient of `objective`, a scalar; not at all if that is not finite."""
        self.optimizer_steps[role].step(objective, number=self.steps + 1, rng=self._rng_state)

    def update_ema(self) -> None:
        """Take the generators' weights into the averages, where these are kept; until `ema_start` they are copies."""
        for name, ema in self.emas.items():
            if self.steps <= self.config.ema_start:
                ema.updates = 0
            ema.update(self.parts.networks[name])

    def set_learning_rates(self) -> None:
        """Set the rates of this step, which fall linearly to 0 from `lr_decay_start` on."""
        start = self.config.lr_decay_start * self.parts.total_steps
        if self.steps < start or self.config.lr_decay_start == 1:
            return
        left = (self.parts.total_steps - self.steps) / (self.parts.total_steps - start)
        for optimizer, options in (
            (self.generator_optimizer, self.config.generator_optimizer),
            (self.discriminator_optimizer, self.config.discriminator_optimizer),
        ):
            for group in optimizer.param_groups:
                group["lr"] = options.lr * left

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
            "generator_optimizer": self.generator_optimizer.state_dict(),
            "discriminator_optimizer": self.discriminator_optimizer.state_dict(),
            "scalers": {name: step.scaler.state_dict() for name, step in self.optimizer_steps.items()},
            "ema_updates": {name: ema.updates for name, ema in self.emas.items()},
            "steps": self.steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        for name in ("generator_optimizer", "discriminator_optimizer"):
            load_optimizer(getattr(self, name), state[name], name)
        for name, step in self.optimizer_steps.items():
            step.scaler.load_state_dict(state["scalers"][name])
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
        return [self.generator_optimizer, self.discriminator_optimizer]

    def unrecordable(self) -> str | None:
        """Return what in the options, or in a derived class, may make one step differ from another."""
        if type(self) is not GANTrainer:
            return f"{type(self).__name__} may do other work at each step than what it derives from"
        if self.config.lr_decay_start < 1:
            return "the learning rates fall (trainer.lr_decay_start), and a graph holds them as they were"
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


def total(loss: Tensor, terms: dict[str, Tensor]) -> Tensor:
    """Return the sum of a loss and the penalties' terms, each a scalar."""
    return torch.stack([loss, *terms.values()]).sum() if terms else loss
