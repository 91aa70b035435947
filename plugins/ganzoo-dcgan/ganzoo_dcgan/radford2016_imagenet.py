"""The DCGAN (arXiv 1511.06434) for ImageNet at 32 pixels: six 3×3 convolutions, every second of stride 2."""

from __future__ import annotations

from itertools import pairwise

from torch import nn

from ganzoo.plugin import DatasetInfo
from ganzoo_dcgan.blocks import DownBlock, UpBlock, init_weights, leaky_relu
from ganzoo_dcgan.configs import Radford2016ImageNetDiscriminatorConfig, Radford2016ImageNetGeneratorConfig
from ganzoo_dcgan.radford2016 import NORM, dense_head, projection
from ganzoo_dcgan.stacks import StackedDiscriminator, StackedGenerator, doublings


class Radford2016ImageNetGenerator(StackedGenerator):
    """Dense → 4×4 → …; strides 2, 1, 2, 1, 2, 1 to 512, 256, 256, 128, 128 channels and the image at 32 pixels."""

    Config = Radford2016ImageNetGeneratorConfig

    def __init__(self, config: Radford2016ImageNetGeneratorConfig, *, info: DatasetInfo) -> None:
        widths = [config.width * 2**power for power in range(doublings(info) - 1, -1, -1)]
        blocks: list[nn.Module] = [projection(config.latent_dim, widths[0])]
        for before, after in pairwise(widths):
            blocks += [
                UpBlock(before, before, kernel_size=3, norm=NORM),
                UpBlock(before, after, kernel_size=3, stride=1, norm=NORM),
            ]
        blocks += [
            UpBlock(widths[-1], widths[-1], kernel_size=3, norm=NORM),
            UpBlock(widths[-1], info.image.channels, kernel_size=3, stride=1, norm=None, activation=nn.Tanh),
        ]
        super().__init__(config, info=info, blocks=blocks, prior=config.latents)
        init_weights(self, **config.init.model_dump())


class Radford2016ImageNetDiscriminator(StackedDiscriminator):
    """Image → … → 4×4 → logit; strides 1, 2, 1, 2, 1, 2 to 128, 128, 256, 256, 512, 512 channels at 32 pixels.

    Its features, pooled, are those that the paper's CIFAR-10 classifier takes (arXiv 1511.06434, table 1).
    """

    Config = Radford2016ImageNetDiscriminatorConfig

    def __init__(self, config: Radford2016ImageNetDiscriminatorConfig, *, info: DatasetInfo) -> None:
        activation = leaky_relu(config.slope)
        widths = [config.width * 2**power for power in range(doublings(info))]
        blocks: list[nn.Module] = []
        for before, width in pairwise([info.image.channels, *widths]):
            norm = NORM if blocks else None
            blocks += [
                DownBlock(before, width, kernel_size=3, stride=1, norm=norm, activation=activation),
                DownBlock(width, width, kernel_size=3, norm=NORM, activation=activation),
            ]
        super().__init__(config, info=info, blocks=blocks, head=dense_head(widths[-1]))
        init_weights(self, **config.init.model_dump())
