"""DRAGAN's penalty: the gradient of the discriminator around real images, rather than between real and generated."""

from __future__ import annotations

import torch
from torch import Tensor

from ganzoo.plugin import Penalty, PenaltyStep, World, squared_gradient_norm
from ganzoo_objectives.configs import DRAGANConfig


class DRAGAN(Penalty):
    """(‖∇D(x̂)‖ − k)² at points x̂ near real images, through any augmentation (arXiv 1705.07215, algorithm 1).

    x̂ = x + α·radius·σ·u with the batch's standard deviation σ, and u for each pixel and α for each image uniform in
    [0, 1), as in the authors' code; the paper has normal noise.
    """

    Config = DRAGANConfig
    config: DRAGANConfig

    def discriminator_term(self, step: PenaltyStep) -> Tensor:
        """Return the mean over the batch, before `weight`."""
        real, device = step.unaugmented_real, step.real.device
        noise = torch.rand(real.shape, generator=step.rng, device=device)
        share = torch.rand(len(real), *[1] * (real.ndim - 1), generator=step.rng, device=device)
        near = real + share * noise * (self.config.radius * deviation(real, step.world))
        near = near.detach().requires_grad_(True)
        # A norm has no gradient at 0.
        norm = (squared_gradient_norm(step.logits(step.augment(near)), near) + 1e-12).sqrt()
        return (norm - self.config.target).square().mean()


def deviation(images: Tensor, world: World) -> Tensor:
    """Return the standard deviation of all pixels, in the images of all processes."""
    count = images.numel() * world.world_size
    variance = world.all_reduce_mean((images - world.all_reduce_mean(images.mean())).square().mean())
    return (variance * (count / (count - 1))).sqrt()
