"""Weight clipping, by which the original WGAN keeps its critic Lipschitz."""

from __future__ import annotations

import torch

from ganzoo.plugin import Discriminator, Penalty
from ganzoo_objectives.configs import WeightClippingConfig


class WeightClipping(Penalty):
    """Clamps every trained parameter of the critic after each of its updates (WGAN, arXiv 1701.07875, algorithm 1).

    Gains and biases of norms are clipped too, as in the authors' code.
    """

    Config = WeightClippingConfig
    config: WeightClippingConfig

    @torch.no_grad()
    def after_discriminator_step(self, discriminator: Discriminator) -> None:
        """Clamp all trained parameters to [−limit, limit]."""
        for parameter in discriminator.parameters():
            if parameter.requires_grad:
                parameter.clamp_(-self.config.limit, self.config.limit)
