"""The trainer of the original GAN algorithm: k discriminator updates, then one of the generator."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ganzoo.builtin.configs import GANTrainerConfig
from ganzoo.components.dataset import Batch
from ganzoo.components.optimizer import current_lr
from ganzoo.components.penalty import PenaltyStep
from ganzoo.components.trainer import Failure, RecordableTrainer, TrainingParts
from ganzoo.sampling.generate import batch_norm_mode
from ganzoo.training.non_finite import NonFiniteGuard
from ganzoo.training.optimizer_step import OptimizerStep, load_optimizer, looks_for_infinities


@dataclass(frozen=True)
class FakeBatch:
    """Generated images, what they were made from, and for which real minibatch."""

    latents: Tensor
    labels: Tensor | None
    images: Tensor


class Game(RecordableTrainer):
    """All but the order of the updates, which a subclass gives in `compute_step`."""

    Config = GANTrainerConfig
    config: GANTrainerConfig

    def __init__(self, config: GANTrainerConfig, *, parts: TrainingParts) -> None:
        super().__init__(config, parts=parts)
        self.generator_optimizer = config.generator_optimizer.build(parts.generator.parameters())
        owned = {
            f"penalty_{name}.{key}": parameter
            for name, penalty in parts.penalties.items()
            for key, parameter in penalty.named_parameters()
        }
        self.discriminator_optimizer = config.discriminator_optimizer.build(
            [*parts.discriminator.parameters(), *owned.values()]
        )
        self._alarm = NonFiniteGuard(parts.rng.device)
        scaling, world = parts.loss_scaling, parts.world
        self._descents = {
            "generator": OptimizerStep(
                "generator",
                parts.generator,
                self.generator_optimizer,
                self._alarm,
                clip=config.generator_grad_clip,
                scaling=scaling,
                world=world,
            ),
            "discriminator": OptimizerStep(
                "discriminator",
                parts.discriminator,
                self.discriminator_optimizer,
                self._alarm,
                owned=owned,
                clip=config.discriminator_grad_clip,
                scaling=scaling,
                world=world,
            ),
        }
        self._rng_state = parts.rng.get_state()
        self.ema = EMA(parts.generator, config.ema_decay) if config.ema_decay else None
        self.steps = 0

    def begin_step(self) -> None:
        """Set the learning rates of this step, and remember where the random numbers stand."""
        self._set_learning_rates()
        self._rng_state = self.parts.rng.get_state()

    def end_step(self) -> None:
        """Count the step, and take it into the average."""
        self.steps += 1
        self._update_ema()

    def optimizers(self) -> list[Optimizer]:
        """Generator's and discriminator's."""
        return [self.generator_optimizer, self.discriminator_optimizer]

    def unrecordable(self) -> str | None:
        """What in the options changes with the number of the step, or is known to the host alone."""
        if self.config.lr_decay_start < 1:
            return "the learning rates fall (trainer.lr_decay_start), and a graph holds them as they were"
        for name, penalty in self.parts.penalties.items():
            if penalty.config.interval > 1:
                return f'the penalty "{name}" is not taken at every step (interval)'
            if not penalty.cuda_graph_safe:
                return f'the penalty "{name}" does not say that it does the same at each step'
        if self.parts.loss_scaling and not all(map(looks_for_infinities, self.optimizers())):
            return "in fp16, an optimizer that is not fused looks at its gradients on the host at each step"
        return None

    def recorded(self) -> Callable[[], None]:
        """After each replay, the alarm is told of updates like those that were recorded."""
        updates = self._alarm.take()

        def after_replay() -> None:
            for update in updates:
                self._alarm.note(
                    replace(update, step=self.steps + 1, rng=self._rng_state, figures=update.figures.clone())
                )

        return after_replay

    def measure(self) -> dict[str, Tensor]:
        """The norm of each network's gradient in its last update."""
        return {f"gradient_norm/{name}": descent.gradient_norm() for name, descent in self._descents.items()}

    def networks(self) -> dict[str, nn.Module]:
        """Generator, discriminator, `generator_ema`, and the penalties that have a state."""
        networks: dict[str, nn.Module] = {
            "generator": self.parts.generator,
            "discriminator": self.parts.discriminator,
        }
        if self.ema is not None:
            networks["generator_ema"] = self.ema.module
        stateful = {name: penalty for name, penalty in self.parts.penalties.items() if penalty.state_dict()}
        return networks | {f"penalty_{name}": penalty for name, penalty in stateful.items()}

    def state_dict(self) -> dict[str, Any]:
        """Optimizers, loss scalers and counters."""
        return {
            "generator_optimizer": self.generator_optimizer.state_dict(),
            "discriminator_optimizer": self.discriminator_optimizer.state_dict(),
            "scalers": {name: descent.scaler.state_dict() for name, descent in self._descents.items()},
            "averaged": self.ema.taken if self.ema is not None else 0,
            "steps": self.steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        for name in ("generator_optimizer", "discriminator_optimizer"):
            load_optimizer(getattr(self, name), state[name], name)
        for name, descent in self._descents.items():
            descent.scaler.load_state_dict(state["scalers"][name])
        if self.ema is not None:
            self.ema.taken = state["averaged"]
        self.steps = state["steps"]

    def failure(self) -> Failure | None:
        """The first update whose loss or gradient was not finite; no weight has moved since."""
        return self._alarm.failure()

    def _generate(self, batch: Batch) -> FakeBatch:
        """As many images as the minibatch has, with its labels, so that classes come as often as in the data."""
        generator = self.parts.generator
        with self._sharded_rng(batch):
            latents = generator.sample_latents(len(batch), self.parts.rng)
        labels = batch.labels if generator.conditional else None
        with self.parts.autocast():
            images = generator(latents, labels)
        return FakeBatch(latents, batch.labels, images.float())

    def _seen(self, images: Tensor) -> Tensor:
        """Images as the penalties let the discriminator see them."""
        with self._sharded_rng(images):
            for penalty in self.parts.penalties.values():
                images = penalty.transform_images(images, self.parts.rng)
        return images

    def _logits(self, images: Tensor, labels: Tensor | None) -> Tensor:
        """The discriminator's logits in fp32: losses lose too much in less."""
        discriminator = self.parts.discriminator
        with self.parts.autocast():
            logits = discriminator(images, labels if discriminator.conditional else None)
        return cast("Tensor", logits.float())

    def _discriminator_loss(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """The loss on the whole minibatch, over all processes: some losses compare its images with each other."""
        gather = self.parts.world.all_gather
        return self.parts.loss.discriminator_loss(gather(real_logits), gather(fake_logits))

    def _generator_loss(self, real_logits: Tensor | None, fake_logits: Tensor) -> Tensor:
        """The loss on the whole minibatch, over all processes."""
        gather = self.parts.world.all_gather
        real_logits = None if real_logits is None else gather(real_logits)
        return self.parts.loss.generator_loss(real_logits, gather(fake_logits))

    def _sharded_rng(self, images: Batch | Tensor) -> AbstractContextManager[object]:
        """While open, what is drawn from the run's random numbers is for these images of the whole minibatch."""
        return self.parts.world.sharded_rng(self.parts.rng, len(images))

    def _penalty_step(
        self, real: Tensor, fake: FakeBatch, fake_images: Tensor, real_logits: Tensor | None, fake_logits: Tensor
    ) -> PenaltyStep:
        parts = self.parts
        return PenaltyStep(
            generator=parts.generator,
            discriminator=parts.discriminator,
            real=real,
            fake=fake_images,
            latents=fake.latents,
            labels=fake.labels,
            real_logits=real_logits,
            fake_logits=fake_logits,
            rng=parts.rng,
            world=parts.world,
        )

    def _penalty_terms(self, method: str, step: PenaltyStep) -> dict[str, Tensor]:
        """The weighted terms that are due at this step, by the penalty's name."""
        terms = {}
        for name, penalty in self.parts.penalties.items():
            if self.steps % penalty.config.interval == 0:
                with self._sharded_rng(step.real):
                    term = getattr(penalty, method)(step)
                if term is not None:
                    terms[name] = term * (penalty.config.weight * penalty.config.interval)
        return terms

    def _descend(self, name: str, loss: Tensor) -> None:
        """One step of a network down the gradient of `loss`."""
        self._descents[name].step(loss, number=self.steps + 1, rng=self._rng_state)

    def _set_learning_rates(self) -> None:
        """The rates of this step, on the way down to 0 where the options let them fall."""
        start = self.config.lr_decay_start * self.parts.total_steps
        if self.steps < start or self.config.lr_decay_start == 1:
            return
        left = (self.parts.total_steps - self.steps) / (self.parts.total_steps - start)
        self.generator_optimizer.param_groups[0]["lr"] = self.config.generator_optimizer.lr * left
        self.discriminator_optimizer.param_groups[0]["lr"] = self.config.discriminator_optimizer.lr * left

    def _update_ema(self) -> None:
        if self.ema is None:
            return
        if self.steps <= self.config.ema_start:
            self.ema.taken = 0  # the next update copies instead of averaging
        self.ema.update(self.parts.generator)


class EMA:
    """An exponential moving average of weights and batch statistics that starts as a copy of `network`.

    Torch's `AveragedModel` counts its updates in a tensor, which is fetched from the device or sent there each time.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.module = copy.deepcopy(network)
        self.taken = 0
        self._decay = decay

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take in the weights as they are, which the first time are the average."""
        pairs = list(zip(_state(self.module), _state(network), strict=True))
        averaged = [pair for pair in pairs if self.taken and pair[0].is_floating_point()]
        copied = [pair for pair in pairs if not (self.taken and pair[0].is_floating_point())]
        if averaged:
            averages, weights = map(list, zip(*averaged, strict=True))
            torch._foreach_lerp_(averages, weights, 1 - self._decay)
        for average, weight in copied:  # counters among them
            average.copy_(weight)
        self.taken += 1


def _state(network: nn.Module) -> list[Tensor]:
    return [*network.parameters(), *network.buffers()]


class GANTrainer(Game):
    """Algorithm 1 of arXiv 1406.2661, with the savings that do not change what is computed.

    The discriminator learns from detached images and is frozen while the generator learns, so that
    neither backward pass computes gradients that nobody uses; the generator's update reuses the
    images of the last discriminator update unless `fake_batch = "fresh"`.
    """

    def compute_step(self, batch: Batch) -> dict[str, Tensor]:
        """`discriminator_steps` updates of the discriminator and one of the generator."""
        minibatches = batch.split(self.config.batches_per_step)
        if self.config.schedule == "alternate_minibatches":
            metrics = self._alternate(minibatches)
        else:
            metrics = self._discriminator_first(minibatches)
        for name, penalty in self.parts.penalties.items():
            metrics |= {f"penalty/{name}_{key}": value.detach() for key, value in penalty.metrics().items()}
        return metrics

    def unrecordable(self) -> str | None:
        """What of the options, or of a class derived from this one, may differ from step to step."""
        if type(self) is not GANTrainer:
            return f"{type(self).__name__} may do other work at each step than what it derives from"
        return super().unrecordable()

    def _discriminator_first(self, minibatches: list[Batch]) -> dict[str, Tensor]:
        """Algorithm 1: k updates of the discriminator, then the generator against the last minibatch."""
        *earlier, last = minibatches
        metrics: dict[str, Tensor] = {}
        for minibatch in earlier:
            metrics |= self._update_discriminator(minibatch, self._generate_for_discriminator(minibatch))
        if self.config.fake_batch == "reuse":
            fake = self._generate(last)
            metrics |= self._update_discriminator(last, fake)
        else:
            metrics |= self._update_discriminator(last, self._generate_for_discriminator(last))
            fake = self._generate(last)
        return metrics | self._update_generator(last, fake)

    def _alternate(self, minibatches: list[Batch]) -> dict[str, Tensor]:
        """The DCGAN authors' order: one minibatch for the generator, k more for the discriminator."""
        first, *others = minibatches
        metrics = self._update_generator(first, self._generate(first))
        for minibatch in others:
            metrics |= self._update_discriminator(minibatch, self._generate_for_discriminator(minibatch))
        return metrics

    @torch.no_grad()
    def _generate_for_discriminator(self, batch: Batch) -> FakeBatch:
        """Images that only the discriminator learns from: without the generator's graph."""
        if self.config.fake_statistics == "batch":
            return self._generate(batch)
        with batch_norm_mode(self.parts.generator, "running"):
            return self._generate(batch)

    def _update_discriminator(self, batch: Batch, fake: FakeBatch) -> dict[str, Tensor]:
        parts = self.parts
        real, fake_images = self._seen(batch.images), self._seen(fake.images.detach())
        real_logits = self._logits(real, batch.labels)
        if self.config.discriminator_update == "separate":
            real_logits = self._learn_from_real_alone(real_logits, fake_images, fake.labels)
        fake_logits = self._logits(fake_images, fake.labels)
        loss = self._discriminator_loss(real_logits, fake_logits)
        step = self._penalty_step(real, fake, fake_images, real_logits, fake_logits)
        terms = self._penalty_terms("discriminator_term", step)
        metrics = {
            "loss/discriminator": loss.detach(),
            "probability/real": real_logits.detach().sigmoid().mean(),
            "probability/fake": fake_logits.detach().sigmoid().mean(),
            **{f"penalty/{name}": term.detach() for name, term in terms.items()},
            "lr/discriminator": torch.full_like(loss, current_lr(self.discriminator_optimizer)),
        }
        total = torch.stack([loss, *terms.values()]).sum() if terms else loss
        self._descend("discriminator", total)
        for penalty in parts.penalties.values():
            penalty.after_discriminator_step(parts.discriminator)
        return metrics

    def _learn_from_real_alone(self, real_logits: Tensor, fake_images: Tensor, labels: Tensor | None) -> Tensor:
        """An update by the real images' part of the loss; returns their logits, through which no more is learnt."""
        with torch.no_grad():
            fake_logits = self._logits(fake_images, labels)
        self._descend("discriminator", self._discriminator_loss(real_logits, fake_logits))
        return real_logits.detach()

    def _update_generator(self, batch: Batch, fake: FakeBatch) -> dict[str, Tensor]:
        with frozen(self.parts.discriminator):
            total, metrics = self._generator_objective(batch, fake)
            self._descend("generator", total)
        return metrics

    def _generator_objective(self, batch: Batch, fake: FakeBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """What the generator's update minimizes, by the discriminator as it stands, and the metrics of it."""
        parts = self.parts
        fake_images = self._seen(fake.images)
        fake_logits = self._logits(fake_images, fake.labels)
        with torch.no_grad():
            real = self._seen(batch.images)
            real_logits = self._logits(real, batch.labels) if parts.loss.needs_real_logits else None
        loss = self._generator_loss(real_logits, fake_logits)
        step = self._penalty_step(real, fake, fake_images, real_logits, fake_logits)
        terms = self._penalty_terms("generator_term", step)
        metrics = {
            "loss/generator": loss.detach(),
            **{f"penalty/{name}_generator": term.detach() for name, term in terms.items()},
            "lr/generator": torch.full_like(loss, current_lr(self.generator_optimizer)),
        }
        total = torch.stack([loss, *terms.values()]).sum() if terms else loss
        return total, metrics


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """While open, no parameter of `module` gathers a gradient; gradients still flow through it."""
    trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for parameter in trainable:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)
