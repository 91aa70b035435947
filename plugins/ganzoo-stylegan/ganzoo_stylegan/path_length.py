"""StyleGAN2's path length regularization (arXiv 1912.04958, §3.2), a penalty for the generator."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ganzoo.plugin import DatasetInfo, Penalty, PenaltyStep
from ganzoo_stylegan.configs import PathLengthConfig
from ganzoo_stylegan.generator import StyleGAN2Generator


class PathLength(Penalty):
    """(‖J_wᵀ y‖ − a)² for random images y and the running mean a of the lengths, on the first part of the minibatch.

    Differences from the authors' code: the mean is over all processes; without `own_update`, the latents are those of
    the minibatch that the update generates.
    """

    Config = PathLengthConfig
    config: PathLengthConfig
    from_latents = True
    mean_length: Tensor

    def __init__(self, config: PathLengthConfig, *, info: DatasetInfo) -> None:
        super().__init__(config, info=info)
        self.register_buffer("mean_length", torch.zeros(()))

    def generator_term(self, step: PenaltyStep) -> Tensor:
        """Return the mean square over the images, and move the mean length."""
        generator, world = step.generator, step.world
        assert isinstance(generator, StyleGAN2Generator)
        count = max(1, round(len(step.latents) * self.config.batch_share))
        own = slice(world.rank * count, (world.rank + 1) * count)  # of the first images of all processes
        labels = None if step.labels is None or not generator.uses else world.all_gather(step.labels)[own]
        styles = generator.layer_styles(world.all_gather(step.latents)[own], labels)
        if not styles.requires_grad:  # of a frozen mapping
            styles = styles.detach().requires_grad_(True)
        images = generator.synthesize(styles)
        noise = torch.randn(images.shape, generator=step.rng, device=images.device)
        (gradient,) = torch.autograd.grad(
            (images * noise).sum() / math.sqrt(images.shape[2] * images.shape[3]), styles, create_graph=True
        )
        lengths = gradient.square().sum(2).mean(1).sqrt()
        mean = self.mean_length.lerp(world.all_reduce_mean(lengths.mean()), self.config.decay)
        with torch.no_grad():
            self.mean_length.copy_(mean)
        return (lengths - mean).square().mean()

    def metrics(self) -> dict[str, Tensor]:
        """Return the mean length."""
        return {"mean_length": self.mean_length.clone()}
