"""The trainer of the original GAN algorithm, and the toolkit that trainers derived from it use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import ClassVar, cast

import torch
from torch import Tensor

from ganzoo.builtin.configs import GANTrainerConfig
from ganzoo.components.dataset import Batch, FakeBatch
from ganzoo.components.network import Generator, Network
from ganzoo.components.penalty import Penalty, PenaltyStep, Role
from ganzoo.components.trainer import TrainingParts
from ganzoo.errors import RequestError, TrainingError
from ganzoo.sampling.generate import batch_norm_mode
from ganzoo.training.ema import EMA
from ganzoo.training.optimizer_step import frozen
from ganzoo.training.optimizing_trainer import OptimizingTrainer
from ganzoo.training.penalties import tracked

Metrics = dict[str, Tensor]
Objective = Callable[[Batch], tuple[Tensor, Metrics]]


class GANTrainer(OptimizingTrainer):
    """Algorithm 1 of arXiv 1406.2661: k updates of the discriminator, then one of the generator.

    The discriminator learns from detached images and is frozen while the generator learns, so that neither backward
    pass computes gradients that nobody uses, which changes no result. The generator's update reuses the images of the
    last discriminator update, where the algorithm draws new ones, unless `fake_batch = "fresh"`.

    A trainer derived from this one overrides the objectives or the order of the updates, and uses the methods under
    "Toolkit", `optimizer_step` and `update_ema`. What is kept and saved is the base class's.
    """

    Config = GANTrainerConfig
    config: GANTrainerConfig

    cuda_graph_safe: ClassVar[bool] = True
    """Whether `compute_step` does the same work on the device at each step, as a CUDA graph needs; not inherited."""

    def __init__(self, config: GANTrainerConfig, *, parts: TrainingParts) -> None:
        super().__init__(config, parts=parts)
        own = type(self).discriminator_objective is not GANTrainer.discriminator_objective
        leaves_it_out = type(self).learn_from_real_first is GANTrainer.learn_from_real_first
        if config.discriminator_update == "separate" and own and leaves_it_out:
            raise RequestError(
                f'trainer.discriminator_update: set it to "joint", since the objective that "{config.name}" has for '
                "the discriminator is of real and generated images together"
            )
        self.micro_batches = config.micro_batches
        if config.batch_size // parts.world.world_size % self.micro_batches:
            count = parts.world.world_size
            raise RequestError(f"trainer.micro_batch_size: set it to a multiple of {count}, the number of processes")
        part = config.batch_size // parts.world.world_size // self.micro_batches
        option = "batch_size" if config.micro_batch_size is None else "micro_batch_size"
        in_parts = self.micro_batches > 1 or parts.world.world_size > 1
        for discriminator in parts.discriminators.values() if in_parts else ():
            if part % (group := config.whole_groups(discriminator.config)):
                raise RequestError(
                    f"trainer.{option}: each process takes {part} samples at a time, which are no whole groups "
                    f'of {group}, as "{discriminator.config.name}" compares them: set it to a multiple of '
                    f"{group * parts.world.world_size}, for {parts.world.world_size} processes"
                )
        self.add_optimizer(
            "generator",
            parts.generators,
            config.generator_optimizer,
            clip=config.generator_grad_clip,
            lazy=self.penalties.own_intervals("generator"),
        )
        self.add_optimizer(
            "discriminator",
            parts.discriminators,
            config.discriminator_optimizer,
            others=self.penalties.parameters(),
            clip=config.discriminator_grad_clip,
            lazy=self.penalties.own_intervals("discriminator"),
        )
        if config.ema_decay or config.ema_half_life is not None:
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
            }

    # A training step, top to bottom

    def compute_step(self, batch: Batch) -> Metrics:
        """Make `discriminator_steps` updates of the discriminator and `generator_steps` of the generator."""
        minibatches = batch.split(self.config.batches_per_step)
        if self.config.schedule == "alternate_minibatches":
            metrics = self.alternate_minibatches(minibatches)
        else:
            metrics = self.discriminator_first(minibatches)
        return metrics | self.penalties.metrics()

    def end_step(self) -> None:
        """Update the averages and count the step."""
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

        Without `fake`, images are generated. Penalties with `own_update` follow, each in its own update.
        """
        separate = self.config.discriminator_update == "separate"
        objective = self.learn_from_real_first if separate else self.discriminator_objective
        metrics = self.minimize(
            "discriminator", batch, lambda part: objective(part, (fake or self.generate_detached(part)).detach())
        )
        for name in self.penalties.due("discriminator", own_update=True):
            metrics |= self.minimize("discriminator", batch, partial(self.own_objective, "discriminator", name))
        return metrics

    def update_generator(self, batch: Batch, fake: FakeBatch | None = None) -> Metrics:
        """Update the generator once against the current discriminator; without `fake`, images are generated.

        Penalties with `own_update` follow, each in its own update.
        """
        with frozen(self.optimizer_steps["discriminator"].networks):
            metrics = self.minimize(
                "generator", batch, lambda part: self.generator_objective(part, fake or self.generate(part))
            )
            for name in self.penalties.due("generator", own_update=True):
                metrics |= self.minimize("generator", batch, partial(self.own_objective, "generator", name))
        return metrics

    # Objectives: what the two networks minimize

    def discriminator_objective(self, batch: Batch, fake: FakeBatch) -> tuple[Tensor, Metrics]:
        """Return what the discriminator minimizes, its loss plus the penalties' terms, and metrics to log."""
        penalties = self.penalties.due("discriminator")
        step = self.discriminator_step(batch, fake, penalties)
        assert step.real_logits is not None
        return self._discriminator_total(step, step.real_logits, penalties)

    def learn_from_real_first(self, batch: Batch, fake: FakeBatch) -> tuple[Tensor, Metrics]:
        """Update by the loss on real images; return the objective on generated ones, and metrics to log."""
        penalties = self.penalties.due("discriminator")
        batch, fake = tracked(batch, fake, penalties)
        real, augmented = self.augment(batch.real), self.augment(fake.samples)
        real_logits = self.logits(real.detach(), batch)  # the penalties differentiate after this update
        with torch.no_grad():
            fake_logits = self.logits(augmented, fake)
        self.optimizer_step("discriminator", self.discriminator_loss(real_logits, fake_logits))
        real_logits, fake_logits = real_logits.detach(), self.logits(augmented, fake)
        step = self.penalty_step(batch, fake, (real, augmented), (real_logits, fake_logits))
        return self._discriminator_total(step, real_logits, penalties)

    def _discriminator_total(
        self, step: PenaltyStep, real_logits: Tensor, penalties: Mapping[str, Penalty]
    ) -> tuple[Tensor, Metrics]:
        loss = self.discriminator_loss(real_logits, step.fake_logits)
        terms = self.penalty_terms("discriminator", step, penalties)
        metrics = {
            "loss/discriminator": loss.detach(),
            **self.output_metrics(real_logits, step.fake_logits),
            **{name: term.detach() for name, term in terms.items()},
        }
        return total(loss, *terms.values()), metrics

    def generator_objective(self, batch: Batch, fake: FakeBatch) -> tuple[Tensor, Metrics]:
        """Return what the generator minimizes, its loss plus the penalties' terms, and metrics to log."""
        step = self.generator_step(batch, fake)
        loss = self.generator_loss(step.real_logits, step.fake_logits)
        terms = self.penalty_terms("generator", step, self.penalties.due("generator"))
        metrics = {"loss/generator": loss.detach(), **{name: term.detach() for name, term in terms.items()}}
        return total(loss, *terms.values()), metrics

    def own_objective(self, role: Role, name: str, batch: Batch) -> tuple[Tensor, Metrics]:
        """Return the term of one penalty on newly generated images, for its separate update, and metrics to log.

        A discriminator's penalty gets generated images even if it uses real ones alone, as R1 does: a penalty does
        not declare what it uses. The StyleGAN2 authors' code generates none for R1.
        """
        penalties = {name: self.parts.penalties[name]}
        if role == "discriminator":
            step = self.discriminator_step(batch, self.generate_detached(batch), penalties)
        elif penalties[name].from_latents:
            none = batch.real[:0]
            fake = FakeBatch(none, self.latents(batch), batch.labels, batch.condition)
            step = self.penalty_step(batch, fake, (none, none), (None, none))
        else:
            step = self.generator_step(batch, self.generate(batch))
        terms = self.penalty_terms(role, step, penalties)
        return total(step.fake_logits.sum() * 0, *terms.values()), {key: term.detach() for key, term in terms.items()}

    def discriminator_step(self, batch: Batch, fake: FakeBatch, penalties: Mapping[str, Penalty]) -> PenaltyStep:
        """Return what the discriminator sees and says, so that the penalties can differentiate it."""
        batch, fake = tracked(batch, fake, penalties)
        real, augmented = self.augment(batch.real), self.augment(fake.samples)
        real_logits, fake_logits = self.logits(real, batch), self.logits(augmented, fake)
        return self.penalty_step(batch, fake, (real, augmented), (real_logits, fake_logits))

    def generator_step(self, batch: Batch, fake: FakeBatch) -> PenaltyStep:
        """Return what the discriminator sees and says, differentiable in the generator alone."""
        augmented = self.augment(fake.samples)
        fake_logits = self.logits(augmented, fake)
        with torch.no_grad():
            real = self.augment(batch.real)
        real_logits = self.logits(real, batch) if self.needs_real_logits else None  # of a frozen discriminator
        return self.penalty_step(batch, fake, (real, augmented), (real_logits, fake_logits))

    @property
    def needs_real_logits(self) -> bool:
        """Whether the generator's loss is given the logits of real images."""
        return self.parts.loss.needs_real_logits

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
        """Generate as many samples as `batch` has, with its labels and condition, which thus follow the data."""
        generator, latents = cast("Generator", self.parts.networks[role]), self.latents(batch, role)
        with self.parts.autocast():
            samples = generator(latents, **generator.inputs(batch.labels, batch.condition))
        if getattr(samples, "shape", None) != (wanted := (len(batch), *generator.info.samples.shape)):
            raise TrainingError(f"{_returns(role, generator, samples)} {wanted}, as info.samples says")
        return FakeBatch(samples.float(), latents, batch.labels, batch.condition)

    def latents(self, batch: Batch, role: str = "generator") -> Tensor:
        """Draw latents (N, latent_dim), as many as `batch` has samples."""
        with self.sharded_rng(batch):
            return cast("Generator", self.parts.networks[role]).sample_latents(len(batch), self.parts.rng)

    @torch.no_grad()
    def generate_detached(self, batch: Batch) -> FakeBatch:
        """Generate images that only the discriminator learns from: without the generator's graph."""
        if self.config.fake_statistics == "batch":
            return self.generate(batch)
        with batch_norm_mode(self.parts.generator, "running"):
            return self.generate(batch)

    def augment(self, samples: Tensor) -> Tensor:
        """Return samples (N, …) after the penalties' augmentations, as the discriminator sees them."""
        with self.sharded_rng(samples):
            return self.penalties.transform(samples)

    def logits(self, samples: Tensor, beside: Batch | FakeBatch, role: str = "discriminator") -> Tensor:
        """Return the discriminator's logits (N, …) in fp32, since losses need this precision.

        Args:
            samples: (N, …), real or generated.
            beside: gives the labels and the condition.
            role: name of the discriminator.
        """
        discriminator = self.parts.networks[role]
        with self.parts.autocast():
            logits = discriminator(samples, **discriminator.inputs(beside.labels, beside.condition))
        if getattr(logits, "shape", ())[:1] != samples.shape[:1]:
            raise TrainingError(f"{_returns(role, discriminator, logits)} ({len(samples)}, …), a logit of each sample")
        return cast("Tensor", logits.float())

    def output_metrics(self, real_logits: Tensor, fake_logits: Tensor, ending: str = "") -> Metrics:
        """Return the discriminator's mean outputs to log: probabilities, or logits where sigmoid gives none."""
        kind, outputs = "logits", {"real": real_logits.detach(), "fake": fake_logits.detach()}
        if self.parts.loss.outputs_probabilities:
            kind, outputs = "probability", {name: logits.sigmoid() for name, logits in outputs.items()}
        return {f"{kind}/{name}{ending}": output.mean() for name, output in outputs.items()}

    def penalty_step(
        self,
        batch: Batch,
        fake: FakeBatch,
        seen: tuple[Tensor, Tensor],
        logits: tuple[Tensor | None, Tensor],
        role: str = "discriminator",
    ) -> PenaltyStep:
        """Return the inputs of the penalties; the arguments are those of `Penalties.step`.

        If a penalty needs the logits of other samples, or logits in fp32, they come from `logits` for `role`, with the
        labels and the condition of the generated samples.
        """

        def logits_of(samples: Tensor) -> Tensor:
            parts = self.parts
            self.parts = replace(parts, autocast=nullcontext)  # a derived class opens its context in `logits` too
            try:
                return self.logits(samples, Batch(samples, fake.labels, fake.condition), role)
            finally:
                self.parts = parts

        return replace(self.penalties.step(batch, fake, seen, logits), logits_of=logits_of)

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
        """Update a network by the mean gradient of `objective` over the micro-batches; return the mean metrics."""
        parts = batch.split(self.micro_batches)
        found: list[Metrics] = []
        for part in parts:
            value, metrics = objective(part)
            self.optimizer_steps[role].add(value / len(parts) if len(parts) > 1 else value)
            found.append(metrics)
        self.optimizer_step(role)
        means = found[0] if len(found) == 1 else {key: torch.stack([m[key] for m in found]).mean() for key in found[0]}
        return means | {f"lr/{role}": self.optimizer_steps[role].learning_rate()}

    def optimizer_step(self, name: str, objective: Tensor | None = None) -> None:
        """Move networks down the gradient of `objective`; then penalties change discriminators, as clipping does."""
        super().optimizer_step(name, objective)
        for role, discriminator in self.parts.discriminators.items():
            if role in self.optimizer_steps[name].networks:
                for penalty in self.parts.penalties.values():
                    penalty.after_discriminator_step(discriminator)

    def sharded_rng(self, samples: Batch | Tensor) -> AbstractContextManager[object]:
        """While open, draws from the run's `rng` are this process's shard, for these samples of the minibatch."""
        return self.parts.world.sharded_rng(self.parts.rng, len(samples))

    def unrecordable(self) -> str | None:
        """Return what in the options, or in a derived class, may make one step differ from another."""
        if not vars(type(self)).get("cuda_graph_safe", False):
            return f"{type(self).__name__} does not say that it does the same work at each step (cuda_graph_safe)"
        return super().unrecordable()


def _returns(role: str, network: Network, values: object) -> str:
    """Begin the message about a network whose `forward` returns other values than those of the shape that follows."""
    given = tuple(getattr(values, "shape", ())) or f"a {type(values).__name__}"
    return f'{role}: "{network.config.name}" returns {given}; make its forward return a tensor of shape'


def total(loss: Tensor, *terms: Tensor) -> Tensor:
    """Return the sum of a loss and the penalties' terms, each a scalar."""
    return torch.stack([loss, *terms]).sum() if terms else loss
