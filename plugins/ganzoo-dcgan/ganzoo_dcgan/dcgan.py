"""DCGAN (arXiv 1511.06434) of 4×4 convolutions, without any dense layer: the form that most tutorials build."""

from __future__ import annotations

from ganzoo.plugin import DatasetInfo
from ganzoo_dcgan.blocks import NORMS, init_weights, leaky_relu
from ganzoo_dcgan.configs import DCGANDiscriminatorConfig, DCGANGeneratorConfig
from ganzoo_dcgan.stacks import StackedDiscriminator, StackedGenerator, down_blocks, logit_block, up_blocks


class DCGANGenerator(StackedGenerator):
    """1×1 → 4×4 → 8×8 → … → image; at 64 pixels 1024, 512, 256, 128 channels (arXiv 1511.06434, fig. 1)."""

    Config = DCGANGeneratorConfig

    def __init__(self, config: DCGANGeneratorConfig, *, info: DatasetInfo) -> None:
        blocks = up_blocks(
            config.latent_dim,
            info,
            width=config.width,
            max_channels=config.max_channels,
            norm=NORMS[config.norm],
            edge_bias=config.edge_bias,
            upsampling=config.upsampling,
        )
        super().__init__(config, info=info, blocks=blocks, from_pixel=True)
        init_weights(self, **config.init.model_dump())


class DCGANDiscriminator(StackedDiscriminator):
    """Image → … → 8×8 → 4×4 → 1×1; at 64 pixels 64, 128, 256, 512 channels."""

    Config = DCGANDiscriminatorConfig

    def __init__(self, config: DCGANDiscriminatorConfig, *, info: DatasetInfo) -> None:
        blocks, channels = down_blocks(
            info.image.channels,
            info,
            width=config.width,
            max_channels=config.max_channels,
            activation=leaky_relu(config.slope),
            norm=NORMS[config.norm],
            edge_bias=config.edge_bias,
        )
        head = logit_block(channels, bias=config.edge_bias)
        super().__init__(config, info=info, blocks=blocks, head=head)
        init_weights(self, **config.init.model_dump())
