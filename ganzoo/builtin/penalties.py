"""Penalties on the gradient of the discriminator, in fp32, composable with any loss."""

from __future__ import annotations

import torch
from torch import Tensor

from ganzoo.builtin.configs import GradientPenaltyConfig, R1Config, R2Config
from ganzoo.components.penalty import Kind, Penalty, PenaltyStep


def squared_gradient_norm(logits: Tensor, samples: Tensor) -> Tensor:
    """Return ‖∇ₓ Σ D(x)‖² (N,) at samples (N, …), differentiable in the discriminator's weights.

    Args:
        logits: (N, …), those of the samples; the sum is over a sample's own.
        samples: where to differentiate.
    """
    (gradient,) = torch.autograd.grad(logits.sum(), samples, create_graph=True)
    return gradient.flatten(1).square().sum(1)


class GradientPenalty(Penalty):
    """WGAN-GP (arXiv 1704.00028, algorithm 1): (‖∇D(x̂)‖ − 1)² at random points x̂ between real and fake."""

    Config = GradientPenaltyConfig
    config: GradientPenaltyConfig
    cuda_graph_safe = True

    def discriminator_term(self, step: PenaltyStep) -> Tensor:
        """Return the mean over the batch, before `weight`."""
        mix = torch.rand(len(step.real), *[1] * (step.real.ndim - 1), generator=step.rng, device=step.real.device)
        if self.config.at == "augmented":
            seen = between = torch.lerp(step.fake, step.real, mix).detach().requires_grad_(True)
        else:
            between = torch.lerp(step.unaugmented_fake, step.unaugmented_real, mix).detach().requires_grad_(True)
            seen = step.augment(between)
        norm = (squared_gradient_norm(step.logits(seen), between) + 1e-12).sqrt()
        return (norm - self.config.target).square().mean()


class R1(Penalty):
    """½‖∇D(x)‖² at real images (arXiv 1801.04406, eq. 9)."""

    Config = R1Config
    config: R1Config
    differentiates_at = frozenset[Kind]({"real"})
    cuda_graph_safe = True

    def discriminator_term(self, step: PenaltyStep) -> Tensor:
        """Return the mean over the batch, before `weight`."""
        (kind,) = self.differentiates_at
        return squared_gradient_norm(*step.differentiable_logits(kind, self.config.at)).mean() / 2


class R2(R1):
    """½‖∇D(x)‖² at generated images (arXiv 1801.04406, eq. 10)."""

    Config = R2Config
    differentiates_at = frozenset[Kind]({"fake"})
