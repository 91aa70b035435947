"""The unrolled GAN: the generator learns from a discriminator that has already reacted to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ganzoo.builtin.gan_trainer import FakeBatch, GANTrainer
from ganzoo.components.dataset import Batch
from ganzoo.components.optimizer import AdamOptions, current_lr
from ganzoo_trainers.configs import UnrolledConfig
from ganzoo_trainers.functional_optimizers import AdamSteps, GradientSteps, Steps


class Unrolled(GANTrainer):
    """Metz et al. 2016 (arXiv 1611.02163, eq. 4 to 10) on the frame of `adversarial`.

    The discriminator learns as ever. For the generator's update, K more of its steps are thought ahead, θ^{k+1} from
    θ^k by the gradient of the discriminator's loss on the minibatch at hand; the generator's loss is taken at θ^K,
    and its gradient goes through all K steps. The discriminator itself stays as it was, batch statistics and
    optimizer included. (The paper ascends f, which is minus the discriminator's loss.)

    The steps are Adam's from the moments that the discriminator's has, as in the paper's experiments, or plain
    gradient descent, as in its equations. Penalties take part with their own parameters fixed.
    """

    Config = UnrolledConfig
    config: UnrolledConfig

    def _generator_objective(self, batch: Batch, fake: FakeBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """The objective of `adversarial`, by the discriminator that has reacted."""
        if not self.config.unrolled_steps:
            return super()._generator_objective(batch, fake)
        judge = FunctionalDiscriminator(self.parts.discriminator)
        parameters = dict(judge.named_parameters())
        # No update of the real discriminator may come of a look ahead: neither of weights nor of statistics.
        weights = {name: parameter.detach().requires_grad_(True) for name, parameter in parameters.items()}
        buffers = {name: buffer.clone() for name, buffer in judge.named_buffers()}
        steps = self._steps(list(parameters.values()))
        for _ in range(self.config.unrolled_steps):
            loss = judge.ask(weights | buffers, lambda: self._discriminator_objective(batch, fake))
            before = list(weights.values())
            own = torch.autograd.grad(loss, before, create_graph=True, allow_unused=True)
            mean = self.parts.world.all_reduce_mean
            gradients = [None if gradient is None else mean(gradient) for gradient in own]
            weights = dict(zip(weights, steps.step(before, gradients), strict=True))
        objective = super()._generator_objective
        return cast("tuple[Tensor, dict[str, Tensor]]", judge.ask(weights | buffers, lambda: objective(batch, fake)))

    def _steps(self, parameters: list[Tensor]) -> Steps:
        """What moves the discriminator that is thought ahead."""
        lr = self.config.unrolled_lr or current_lr(self.discriminator_optimizer)
        options = self.config.discriminator_optimizer
        if self.config.unrolled_update == "gradient":
            return GradientSteps(lr)
        assert isinstance(options, AdamOptions)
        return AdamSteps(options, lr, self.discriminator_optimizer, parameters)

    def _discriminator_objective(self, batch: Batch, fake: FakeBatch) -> Tensor:
        """What the discriminator minimizes, as a function of its weights and of the generator's images."""
        real, fake_images = self._seen(batch.images), self._seen(fake.images)
        real_logits, fake_logits = self._logits(real, batch.labels), self._logits(fake_images, fake.labels)
        step = self._penalty_step(real, fake, fake_images, real_logits, fake_logits)
        terms = self._penalty_terms("discriminator_term", step)
        loss = self._discriminator_loss(real_logits, fake_logits)
        return torch.stack([loss, *terms.values()]).sum()


class FunctionalDiscriminator(nn.Module):
    """A discriminator that lends its place to other weights while a question is answered.

    Args:
        discriminator: whoever asks it anything meanwhile, penalties included, is answered by those weights.
    """

    def __init__(self, discriminator: nn.Module) -> None:
        super().__init__()
        self.discriminator = discriminator

    def forward(self, question: Callable[[], Any]) -> Any:
        """What `question` returns."""
        return question()

    def ask(self, state: dict[str, Tensor], question: Callable[[], Any]) -> Any:
        """What `question` returns where the parameters and buffers are those in `state`, under this module's names."""
        return functional_call(self, state, (question,))
