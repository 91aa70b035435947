"""InfoGAN's generator (arXiv 1606.03657): DCGAN's, with codes as the first part of its latents."""

from __future__ import annotations

import torch
from ganzoo_dcgan.dcgan import DCGANGenerator
from torch import Tensor
from torch.nn import functional as F

from ganzoo_networks.configs import InfoGANGeneratorConfig


class InfoGANGenerator(DCGANGenerator):
    """A latent vector is [one-hot code, for each of `categorical`; `continuous` numbers; noise].

    The first are uniform over their values, the second U(−1, 1), the noise standard normal; all together are
    `latent_dim` numbers, so that whatever handles latents handles codes.
    """

    Config = InfoGANGeneratorConfig
    config: InfoGANGeneratorConfig

    def sample_latents(self, count: int, rng: torch.Generator) -> Tensor:
        """Draw latents (count, latent_dim) with codes at their beginning, on the device of `rng`."""
        config, device = self.config, rng.device
        codes = [
            F.one_hot(torch.randint(values, (count,), generator=rng, device=device), values).float()
            for values in config.categorical
        ]
        continuous = torch.rand(count, config.continuous, generator=rng, device=device) * 2 - 1
        noise = torch.randn(count, config.latent_dim - config.code_dim, generator=rng, device=device)
        return torch.cat([*codes, continuous, noise], 1)
