"""The plain GAN (arXiv 1406.2661) of dense layers: the baseline that DCGAN is compared with.

arXiv 1406.2661 leaves the layers open (ReLU and sigmoid, maxout, dropout); these are those of "GANs in Action"
(Langr and Bok 2019, ch. 3), which its DCGAN replaces: one hidden layer of 128 units with LeakyReLU of slope 0.01.
"""

from __future__ import annotations

from itertools import pairwise
from math import prod

from torch import Tensor, nn

from ganzoo.plugin import DatasetInfo
from ganzoo_dcgan.blocks import DenseBlock, init_glorot, leaky_relu
from ganzoo_dcgan.configs import GANDiscriminatorConfig, GANGeneratorConfig
from ganzoo_dcgan.stacks import StackedDiscriminator, StackedGenerator


class GANGenerator(StackedGenerator):
    """Latents → hidden layers → all pixels at once, tanh."""

    Config = GANGeneratorConfig

    def __init__(self, config: GANGeneratorConfig, *, info: DatasetInfo) -> None:
        activation = leaky_relu(config.slope)
        blocks: list[nn.Module] = [
            DenseBlock(before, after, activation=activation)
            for before, after in pairwise([config.latent_dim, *config.hidden])
        ]
        blocks += [
            DenseBlock(config.hidden[-1], prod(info.image.shape), activation=nn.Tanh),
            nn.Unflatten(1, info.image.shape),
        ]
        super().__init__(config, info=info, blocks=blocks)
        init_glorot(self)


class GANDiscriminator(StackedDiscriminator):
    """All pixels at once → hidden layers → logit."""

    Config = GANDiscriminatorConfig

    def __init__(self, config: GANDiscriminatorConfig, *, info: DatasetInfo) -> None:
        activation = leaky_relu(config.slope)
        blocks = [
            DenseBlock(before, after, activation=activation)
            for before, after in pairwise([prod(info.image.shape), *config.hidden])
        ]
        super().__init__(config, info=info, blocks=blocks, head=nn.Linear(config.hidden[-1], 1))
        init_glorot(self)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N,)."""
        return super().forward(images.flatten(1))

    def features(self, images: Tensor) -> list[Tensor]:
        """Return the output of each hidden layer, as images (N, units, 1, 1)."""
        return [units[:, :, None, None] for units in super().features(images.flatten(1))]
