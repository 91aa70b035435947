"""DCGAN (arXiv 1511.06434) of 4×4 convolutions, without any dense layer: the form that most tutorials build."""

from __future__ import annotations

from itertools import pairwise

from torch import nn

from ganzoo.plugin import DatasetInfo
from ganzoo_dcgan.blocks import NORMS, DownBlock, UpBlock, init_weights, leaky_relu
from ganzoo_dcgan.configs import DCGANDiscriminatorConfig, DCGANGeneratorConfig
from ganzoo_dcgan.stacks import StackedDiscriminator, StackedGenerator


class DCGANGenerator(StackedGenerator):
    """1×1 → 4×4 → 8×8 → … → image; at 64 pixels 1024, 512, 256, 128 channels (arXiv 1511.06434, fig. 1)."""

    Config = DCGANGeneratorConfig

    def __init__(self, config: DCGANGeneratorConfig, *, info: DatasetInfo) -> None:
        norm = NORMS[config.norm]
        widths = [min(config.width * 2**power, config.max_channels) for power in range(doublings(info), 0, -1)]
        blocks = [
            UpBlock(config.latent_dim, widths[0], stride=1, padding=0, norm=norm),
            *(UpBlock(before, after, norm=norm, upsampling=config.upsampling) for before, after in pairwise(widths)),
            UpBlock(
                widths[-1],
                info.image.channels,
                bias=config.edge_bias,
                norm=None,
                activation=nn.Tanh,
                upsampling=config.upsampling,
            ),
        ]
        super().__init__(config, info=info, blocks=blocks, from_pixel=True)
        init_weights(self, **config.init.model_dump())


class DCGANDiscriminator(StackedDiscriminator):
    """Image → … → 8×8 → 4×4 → 1×1; at 64 pixels 64, 128, 256, 512 channels."""

    Config = DCGANDiscriminatorConfig

    def __init__(self, config: DCGANDiscriminatorConfig, *, info: DatasetInfo) -> None:
        activation = leaky_relu(config.slope)
        widths = [min(config.width * 2**power, config.max_channels) for power in range(doublings(info))]
        blocks = [
            DownBlock(info.image.channels, widths[0], bias=config.edge_bias, norm=None, activation=activation),
            *(
                DownBlock(before, after, norm=NORMS[config.norm], activation=activation)
                for before, after in pairwise(widths)
            ),
        ]
        head = DownBlock(widths[-1], 1, padding=0, bias=config.edge_bias, norm=None, activation=None)
        super().__init__(config, info=info, blocks=blocks, head=head)
        init_weights(self, **config.init.model_dump())


def doublings(info: DatasetInfo) -> int:
    """How often 4×4 is doubled to give the image."""
    return (info.image.height // 4).bit_length() - 1
