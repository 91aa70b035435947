"""The DCGAN of the book "GANs in Action" (Langr and Bok 2019, ch. 4), down to Keras' padding and statistics.

It follows a reader's version of the book's code, whose discriminator lacks the batch norm that the book's notebook has
after the second and the third convolution.
"""

from __future__ import annotations

from itertools import pairwise
from math import ceil

from torch import nn

from ganzoo.plugin import DatasetInfo
from ganzoo_dcgan.blocks import DownBlock, Projection, UpBlock, batch_norm, init_glorot, leaky_relu
from ganzoo_dcgan.configs import GANInActionDiscriminatorConfig, GANInActionGeneratorConfig
from ganzoo_dcgan.stacks import StackedDiscriminator, StackedGenerator

NORM = batch_norm(eps=1e-3, momentum=0.01)  # Keras keeps 0.99 of its running statistics, torch replaces 0.01


class GANInActionGenerator(StackedGenerator):
    """Dense 256·7·7, no activation → 128·14·14 → 64·14·14 → image of 28 pixels; LeakyReLU as in the discriminator."""

    Config = GANInActionGeneratorConfig

    def __init__(self, config: GANInActionGeneratorConfig, *, info: DatasetInfo) -> None:
        activation, width = leaky_relu(config.slope), config.width

        def up(before: int, after: int, stride: int) -> UpBlock:
            return UpBlock(
                before, after, kernel_size=3, stride=stride, padding="same", bias=True, norm=NORM, activation=activation
            )

        blocks = [
            Projection(config.latent_dim, 4 * width, info.image.height // 4, norm=None),
            up(4 * width, 2 * width, stride=2),
            up(2 * width, width, stride=1),
            UpBlock(
                width, info.image.channels, kernel_size=3, padding="same", bias=True, norm=None, activation=nn.Tanh
            ),
        ]
        super().__init__(config, info=info, blocks=blocks)
        init_glorot(self)


class GANInActionDiscriminator(StackedDiscriminator):
    """Image of 28 pixels → 32·14·14 → 64·7·7 → 128·4·4 → dense; without batch norm, as in a reader's version.

    The book's notebook has batch norm between the second and the third convolution and their LeakyReLU; `norm =
    "batch"` has it too, as Keras does it: ε 1e-3, momentum 0.99.
    """

    Config = GANInActionDiscriminatorConfig

    def __init__(self, config: GANInActionDiscriminatorConfig, *, info: DatasetInfo) -> None:
        activation = leaky_relu(config.slope)
        widths = [config.width * 2**power for power in range(3)]
        blocks = [
            DownBlock(
                before,
                after,
                kernel_size=3,
                padding="same",
                bias=True,
                norm=NORM if config.norm == "batch" and place else None,
                activation=activation,
            )
            for place, (before, after) in enumerate(pairwise([info.image.channels, *widths]))
        ]
        units = widths[-1] * ceil(info.image.height / 8) * ceil(info.image.width / 8)
        super().__init__(config, info=info, blocks=blocks, head=nn.Sequential(nn.Flatten(), nn.Linear(units, 1)))
        init_glorot(self)
