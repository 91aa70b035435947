"""DCGAN's discriminator with spectral norm instead of batch norm (SNGAN, arXiv 1802.05957)."""

from __future__ import annotations

from ganzoo_dcgan.blocks import leaky_relu
from ganzoo_dcgan.stacks import StackedDiscriminator, down_blocks, logit_block
from torch import nn

from ganzoo.plugin import DatasetInfo
from ganzoo_networks.configs import SNGANDiscriminatorConfig
from ganzoo_networks.minibatch import MinibatchStdDev
from ganzoo_networks.spectral import drawn_spectral


class SNGANDiscriminator(StackedDiscriminator):
    """Image → … → 8×8 → 4×4 → 1×1, each layer with a bias and its largest singular value at 1."""

    Config = SNGANDiscriminatorConfig

    def __init__(self, config: SNGANDiscriminatorConfig, *, info: DatasetInfo) -> None:
        wrap = drawn_spectral(config.weight_std)
        blocks, channels = down_blocks(
            info.image.channels,
            info,
            width=config.width,
            max_channels=config.max_channels,
            activation=leaky_relu(config.slope),
            wrap=wrap,
        )
        head: nn.Module = logit_block(channels, wrap=wrap)
        if config.minibatch_stddev:
            head = nn.Sequential(MinibatchStdDev(config.minibatch_stddev), logit_block(channels + 1, wrap=wrap))
        super().__init__(config, info=info, blocks=blocks, head=head)
