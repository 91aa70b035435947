"""Penalties on the gradient of the discriminator, in fp32, composable with any loss."""

from __future__ import annotations

import torch
from torch import Tensor

from ganzoo.builtin.configs import GradientPenaltyConfig, R1Config, R2Config
from ganzoo.components.penalty import Penalty, PenaltyStep


def squared_gradient_norm(step: PenaltyStep, images: Tensor) -> Tensor:
    """Return ‖∇ₓ D(x)‖² (N,) at `images` (N, …), differentiable in the discriminator's weights; D sums its logits."""
    images = images.detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(step.logits(images).sum(), images, create_graph=True)
    return gradient.flatten(1).square().sum(1)


class GradientPenalty(Penalty):
    """WGAN-GP (arXiv 1704.00028, algorithm 1): (‖∇D(x̂)‖ − 1)² at random points x̂ between real and fake."""

    Config = GradientPenaltyConfig
    config: GradientPenaltyConfig
    cuda_graph_safe = True

    def discriminator_term(self, step: PenaltyStep) -> Tensor:
        """Return the mean over the batch, before `weight`."""
        mix = torch.rand(len(step.real), *[1] * (step.real.ndim - 1), generator=step.rng, device=step.real.device)
        between = torch.lerp(step.fake, step.real, mix)
        norm = (squared_gradient_norm(step, between) + 1e-12).sqrt()
        return (norm - self.config.target).square().mean()


class R1(Penalty):
    """½‖∇D(x)‖² at real images (arXiv 1801.04406, eq. 9)."""

    Config = R1Config
    cuda_graph_safe = True

    def discriminator_term(self, step: PenaltyStep) -> Tensor:
        """Return the mean over the batch, before `weight`."""
        return squared_gradient_norm(step, step.real).mean() / 2


class R2(Penalty):
    """½‖∇D(x)‖² at generated images (arXiv 1801.04406, eq. 10)."""

    Config = R2Config
    cuda_graph_safe = True

    def discriminator_term(self, step: PenaltyStep) -> Tensor:
        """Return the mean over the batch, before `weight`."""
        return squared_gradient_norm(step, step.fake).mean() / 2
