"""DCGAN (arXiv 1511.06434) as its authors trained it: dense, then 5×5, no bias, statistics of the batch always."""

from __future__ import annotations

from itertools import pairwise

from torch import nn

from ganzoo.plugin import DatasetInfo
from ganzoo_dcgan.blocks import DownBlock, Projection, UpBlock, batch_norm, init_weights, leaky_relu, relu
from ganzoo_dcgan.configs import Radford2016DiscriminatorConfig, Radford2016GeneratorConfig
from ganzoo_dcgan.stacks import StackedDiscriminator, StackedGenerator, doublings

START = 4
NORM = batch_norm(eps=1e-8, track=False)
UNIT_NORM = batch_norm(eps=1e-8, track=False, flat=True)


class Radford2016Generator(StackedGenerator):
    """Dense → norm over all units → 4×4 → … → image; at 64 pixels 1024, 512, 256, 128 channels.

    That of faces and bedrooms, and with `width = 64` that of SVHN at 32 pixels: 256, 128, 64 channels.
    """

    Config = Radford2016GeneratorConfig

    def __init__(self, config: Radford2016GeneratorConfig, *, info: DatasetInfo) -> None:
        widths = [config.width * 2**power for power in range(doublings(info) - 1, -1, -1)]
        blocks = [
            projection(config.latent_dim, widths[0]),
            *(UpBlock(before, after, kernel_size=5, norm=NORM) for before, after in pairwise(widths)),
            UpBlock(widths[-1], info.image.channels, kernel_size=5, norm=None, activation=nn.Tanh),
        ]
        super().__init__(config, info=info, blocks=blocks, prior=config.latents)
        init_weights(self, **config.init.model_dump())


class Radford2016Discriminator(StackedDiscriminator):
    """Image → … → 4×4 → logit; at 64 pixels 128, 256, 512, 1024 channels, no norm after the first layer."""

    Config = Radford2016DiscriminatorConfig

    def __init__(self, config: Radford2016DiscriminatorConfig, *, info: DatasetInfo) -> None:
        activation = leaky_relu(config.slope)
        widths = [config.width * 2**power for power in range(doublings(info))]
        blocks = [
            DownBlock(info.image.channels, widths[0], kernel_size=5, norm=None, activation=activation),
            *(
                DownBlock(before, after, kernel_size=5, norm=NORM, activation=activation)
                for before, after in pairwise(widths)
            ),
        ]
        super().__init__(config, info=info, blocks=blocks, head=dense_head(widths[-1]))
        init_weights(self, **config.init.model_dump())


def projection(latent_dim: int, channels: int) -> Projection:
    """Build the projection of latents (N, latent_dim) to images (N, channels, 4, 4), each unit normalized by itself."""
    return Projection(latent_dim, channels, START, bias=False, norm=UNIT_NORM, norm_units=True, activation=relu)


def dense_head(channels: int) -> nn.Module:
    """Build the dense layer from images (N, channels, 4, 4) to logits (N, 1)."""
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * START * START, 1, bias=False))
