"""Instance noise on real and generated images, which fades by a schedule."""

from __future__ import annotations

import torch
from torch import Tensor

from ganzoo.plugin import Penalty
from ganzoo_objectives.configs import InstanceNoiseConfig


class InstanceNoise(Penalty):
    """Adds N(0, σ²) to whatever the discriminator sees (arXiv 1610.04490, §3; arXiv 1701.04862, §3)."""

    Config = InstanceNoiseConfig
    config: InstanceNoiseConfig
    cuda_graph_safe = True

    def transform_images(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """Add noise to the images, which may then lie outside [−1, 1]."""
        noise = torch.randn(images.shape, generator=rng, device=images.device, dtype=images.dtype)
        sigma: Tensor | float = self.option("sigma")
        return images + noise * sigma

    def metrics(self) -> dict[str, Tensor]:
        """Return σ of this step."""
        sigma = self.option("sigma")
        return {"sigma": sigma.clone() if isinstance(sigma, Tensor) else torch.tensor(sigma)}
