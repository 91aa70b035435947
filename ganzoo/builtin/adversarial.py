"""The trainer of the original GAN algorithm: k discriminator updates, then one of the generator."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ganzoo.builtin.game import Fake, Game
from ganzoo.components.dataset import Batch
from ganzoo.components.optimizer import current_lr
from ganzoo.engine.sampling import batch_norm_mode


class Adversarial(Game):
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
        if type(self) is not Adversarial:
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
    def _generate_for_discriminator(self, batch: Batch) -> Fake:
        """Images that only the discriminator learns from: without the generator's graph."""
        if self.config.fake_statistics == "batch":
            return self._generate(batch)
        with batch_norm_mode(self.parts.generator, "running"):
            return self._generate(batch)

    def _update_discriminator(self, batch: Batch, fake: Fake) -> dict[str, Tensor]:
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

    def _update_generator(self, batch: Batch, fake: Fake) -> dict[str, Tensor]:
        with frozen(self.parts.discriminator):
            total, metrics = self._generator_objective(batch, fake)
            self._descend("generator", total)
        return metrics

    def _generator_objective(self, batch: Batch, fake: Fake) -> tuple[Tensor, dict[str, Tensor]]:
        """What the generator's update minimises, by the discriminator as it stands, and the metrics of it."""
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
