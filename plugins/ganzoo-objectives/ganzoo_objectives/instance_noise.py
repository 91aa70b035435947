"""Instance noise on real and generated images, decaying over training."""

from __future__ import annotations

import torch
from torch import Tensor

from ganzoo.plugin import DatasetInfo, Penalty, PenaltyStep
from ganzoo_objectives.configs import InstanceNoiseConfig


class InstanceNoise(Penalty):
    """Adds N(0, σ²) to whatever the discriminator sees (arXiv 1610.04490, §3; arXiv 1701.04862, §3).

    σ falls with the steps, which are counted in a buffer: a resumed run goes on where it was.
    """

    Config = InstanceNoiseConfig
    config: InstanceNoiseConfig
    steps: Tensor

    def __init__(self, config: InstanceNoiseConfig, *, info: DatasetInfo) -> None:
        super().__init__(config, info=info)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    @property
    def sigma(self) -> Tensor:
        """The deviation at this step, a scalar on the device."""
        done = (self.steps / self.config.decay_steps).clamp(max=1)
        return self.config.sigma + (self.config.final_sigma - self.config.sigma) * done

    def transform_images(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """Add noise to the images, which may then lie outside [−1, 1]."""
        noise = torch.randn(images.shape, generator=rng, device=images.device, dtype=images.dtype)
        return images + noise * self.sigma

    def generator_term(self, step: PenaltyStep) -> None:
        """Count the step, since the generator is updated once in each; return no term."""
        self.steps += 1

    def metrics(self) -> dict[str, Tensor]:
        """Return σ of the next step."""
        return {"sigma": self.sigma}
