"""Base classes of generators and discriminators."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from ganzoo.components.options import DiscriminatorConfig, GeneratorConfig
from ganzoo.components.spec import DatasetInfo


class Generator(nn.Module, ABC):
    """Turns latent vectors into images.

    Args:
        config: the options of this generator.
        info: of the images it has to make.
    """

    Config: ClassVar[type[GeneratorConfig]] = GeneratorConfig

    conditional: bool = False
    """Whether `forward` needs labels."""

    def __init__(self, config: GeneratorConfig, *, info: DatasetInfo) -> None:
        super().__init__()
        self.config = config
        self.info = info

    @abstractmethod
    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return images (N, C, H, W) in [−1, 1] for latents (N, latent_dim) and, where conditional, labels (N,)."""

    def sample_latents(self, count: int, rng: torch.Generator) -> Tensor:
        """Draw latents (count, latent_dim), standard normal unless overridden, on the device of `rng`."""
        return torch.randn(count, self.config.latent_dim, generator=rng, device=rng.device)


class Discriminator(nn.Module, ABC):
    """Tells real images from generated ones; a critic under a Wasserstein loss.

    Args:
        config: the options of this discriminator.
        info: of the images it gets.
    """

    Config: ClassVar[type[DiscriminatorConfig]] = DiscriminatorConfig

    conditional: bool = False
    """Whether `forward` needs labels."""

    def __init__(self, config: DiscriminatorConfig, *, info: DatasetInfo) -> None:
        super().__init__()
        self.config = config
        self.info = info

    @abstractmethod
    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return logits (N,), not probabilities, for images (N, C, H, W) in [−1, 1]."""

    @abstractmethod
    def features(self, images: Tensor) -> list[Tensor]:
        """Return the feature maps of every layer, first to last, for images (N, C, H, W)."""


def parameters(network: nn.Module) -> int:
    """Return the number of parameters of a network."""
    return sum(parameter.numel() for parameter in network.parameters())
