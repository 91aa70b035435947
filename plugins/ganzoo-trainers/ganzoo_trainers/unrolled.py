"""The unrolled GAN: the generator learns from a discriminator that has already reacted to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ganzoo.plugin import AdamConfig, Batch, FakeBatch, GANTrainer, Penalty, RequestError, TrainingParts
from ganzoo_trainers.configs import UnrolledConfig
from ganzoo_trainers.functional_optimizers import TINY, AdamSteps, GradientSteps, Steps


class Unrolled(GANTrainer):
    """Metz et al. 2016 (arXiv 1611.02163, eq. 4 to 10) on the frame of `adversarial`.

    The discriminator's own update is unchanged. For the generator's update, K further steps of it are unrolled, θ^{k+1}
    from θ^k by the gradient of the discriminator's loss on the minibatch at hand; the generator's loss is taken at θ^K,
    and its gradient goes through all K steps. The discriminator itself stays as it was, batch statistics and
    optimizer included. (The paper ascends f, which is minus the discriminator's loss.)

    The logits of real images at θ^K depend on the generator too, through the unrolled steps, and the loss is given
    them: with `minimax` the generator descends the paper's whole f, E log D(x; θ^K) included; `wasserstein` and the
    relativistic losses take them as well. The other losses have no term of the real images for the generator.

    The steps are Adam's from the moments that the discriminator's has, as in the paper's experiments, or plain
    gradient descent, as in its equations. Gradients and weights are clipped as the discriminator's own are. Penalties
    take part with their own parameters fixed, and their state, such as the probability of adaptive augmentation, does
    not change; with `interval`, in all unrolled steps of a training step or in none.
    """

    Config = UnrolledConfig
    config: UnrolledConfig

    def __init__(self, config: UnrolledConfig, *, parts: TrainingParts) -> None:
        super().__init__(config, parts=parts)
        for name, penalty in parts.penalties.items() if config.unrolled_steps else ():
            if penalty.config.own_update and not penalty.from_latents:
                raise RequestError(
                    f'penalties: "{name}" has updates of its own, which the unrolled steps would leave out: set '
                    "own_update = false"
                )
        # Asked now, since no parameter trains while the generator is updated.
        self.trained = {id(parameter) for parameter in parts.discriminator.parameters() if parameter.requires_grad}

    def generator_objective(self, batch: Batch, fake: FakeBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the objective of `adversarial`, by the discriminator after `unrolled_steps` more of its steps."""
        if not self.config.unrolled_steps:
            return super().generator_objective(batch, fake)
        discriminator = FunctionalDiscriminator(self.parts.discriminator)
        with_penalties = FunctionalDiscriminator(self.parts.discriminator, *self.parts.penalties.values())
        named = discriminator.named_parameters()
        parameters = {name: parameter for name, parameter in named if id(parameter) in self.trained}
        # The real weights, statistics and probabilities must not change by steps that are only unrolled.
        weights = {name: parameter.detach().requires_grad_(True) for name, parameter in parameters.items()}
        buffers = {name: buffer.clone() for name, buffer in with_penalties.named_buffers()}
        steps = self.unrolled_optimizer(list(parameters.values()))
        for _ in range(self.config.unrolled_steps):
            loss, _ = with_penalties.call(weights | buffers, lambda: self.discriminator_objective(batch, fake))
            before = list(weights.values())
            own = torch.autograd.grad(loss, before, create_graph=True, allow_unused=True)
            mean = self.parts.world.all_reduce_mean
            gradients = clipped(
                [None if gradient is None else mean(gradient) for gradient in own], self.config.discriminator_grad_clip
            )
            weights = dict(zip(weights, steps.step(before, gradients), strict=True))
            weights = self.after_unrolled_step(discriminator, weights)
        # The generator's loss takes the real state of the penalties, which changes with it.
        buffers = {name: buffers[name] for name, _ in discriminator.named_buffers()}
        objective = super().generator_objective
        return cast(
            "tuple[Tensor, dict[str, Tensor]]",
            discriminator.call(weights | buffers, lambda: objective(batch, fake)),
        )

    @property
    def needs_real_logits(self) -> bool:
        """True with unrolled steps, through which the logits of real images depend on the generator."""
        return self.config.unrolled_steps > 0 or super().needs_real_logits

    def after_unrolled_step(
        self, discriminator: FunctionalDiscriminator, weights: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return the weights as penalties leave them that change them after a step, as clipping does.

        The gradient goes through those that stay, and not through those that are changed.
        """
        acting = [
            penalty
            for penalty in self.parts.penalties.values()
            if type(penalty).after_discriminator_step is not Penalty.after_discriminator_step
        ]
        if not acting:
            return weights
        changed = {name: weight.detach().clone().requires_grad_(True) for name, weight in weights.items()}

        def act() -> None:
            for penalty in acting:
                penalty.after_discriminator_step(self.parts.discriminator)

        discriminator.call(changed, act)
        pairs = [(name, old, changed[name].detach()) for name, old in weights.items()]
        return {name: torch.where(new == old, old, new) for name, old, new in pairs}

    def unrolled_optimizer(self, parameters: list[Tensor]) -> Steps:
        """Return what moves the discriminator in the unrolled steps, from where its optimizer stands."""
        optimizer = self.optimizer_steps["discriminator"].optimizer
        lr = self.config.unrolled_lr or float(optimizer.param_groups[0]["lr"])
        options = self.config.discriminator_optimizer
        if self.config.unrolled_update == "gradient":
            return GradientSteps(lr)
        assert isinstance(options, AdamConfig)
        return AdamSteps(options, lr, optimizer, parameters)


def clipped(gradients: list[Tensor | None], limit: float | None) -> list[Tensor | None]:
    """Return gradients scaled so that their norm together is `limit` at most, as `clip_grad_norm_` does."""
    if limit is None:
        return gradients
    norm = torch.stack([gradient.square().sum() for gradient in gradients if gradient is not None]).sum()
    share = (limit / ((norm + TINY).sqrt() + 1e-6)).clamp(max=1)
    return [None if gradient is None else gradient * share for gradient in gradients]


class FunctionalDiscriminator(nn.Module):
    """Evaluates functions of the discriminator with other weights in its place.

    Args:
        discriminator: whose weights are replaced while a function is evaluated, for penalties too.
        penalties: whose buffers are replaced too.
    """

    def __init__(self, discriminator: nn.Module, *penalties: nn.Module) -> None:
        super().__init__()
        self.discriminator = discriminator
        self.penalties = nn.ModuleList(penalties)

    def forward(self, function: Callable[[], Any]) -> Any:
        """Return what `function` returns."""
        return function()

    def call(self, state: dict[str, Tensor], function: Callable[[], Any]) -> Any:
        """Return what `function` returns where the parameters and buffers are those of `state`, by their names here."""
        return functional_call(self, state, (function,))
