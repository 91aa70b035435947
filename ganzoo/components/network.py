"""The contracts of the two networks of a GAN."""

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
        info: the images it has to make.
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
        """Images (N, C, H, W) in [−1, 1] for latents (N, latent_dim) and, where conditional, labels (N,)."""

    def sample_latents(self, count: int, rng: torch.Generator) -> Tensor:
        """Latents (count, latent_dim) from the prior, standard normal unless a generator says otherwise.

        They are drawn and stay on the device of `rng`.
        """
        return torch.randn(count, self.config.latent_dim, generator=rng, device=rng.device)


class Discriminator(nn.Module, ABC):
    """Tells real images from generated ones; a critic where the loss says so.

    Args:
        config: the options of this discriminator.
        info: the images it has to judge.
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
        """Logits (N,), not probabilities, for images (N, C, H, W) in [−1, 1]."""

    @abstractmethod
    def features(self, images: Tensor) -> list[Tensor]:
        """The feature maps of every layer, first to last, for images (N, C, H, W)."""


def parameters(network: nn.Module) -> int:
    """How many numbers a network learns."""
    return sum(parameter.numel() for parameter in network.parameters())
