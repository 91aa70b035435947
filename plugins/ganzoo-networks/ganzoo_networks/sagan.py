"""SAGAN (arXiv 1805.08318): DCGAN's stacks with self-attention, and spectral norm in both networks."""

from __future__ import annotations

from ganzoo_dcgan.blocks import leaky_relu
from ganzoo_dcgan.stacks import StackedDiscriminator, StackedGenerator, down_blocks, logit_block, up_blocks
from torch import nn

from ganzoo.plugin import DatasetInfo
from ganzoo_networks.attention import SelfAttention
from ganzoo_networks.configs import SAGANDiscriminatorConfig, SAGANGeneratorConfig
from ganzoo_networks.spectral import drawn_spectral


class SAGANGenerator(StackedGenerator):
    """1×1 → 4×4 → … → image, with batch norm; attention where the image has `attention_size` pixels."""

    Config = SAGANGeneratorConfig

    def __init__(self, config: SAGANGeneratorConfig, *, info: DatasetInfo) -> None:
        wrap = drawn_spectral(config.weight_std)
        stack = up_blocks(config.latent_dim, info, width=config.width, max_channels=config.max_channels, wrap=wrap)
        # The first block makes 4×4, and each after it doubles.
        at = (config.attention_size // 4).bit_length() - 1
        channels = min(config.width * 2 ** (len(stack) - 1 - at), config.max_channels)
        blocks: list[nn.Module] = [*stack]
        blocks.insert(at + 1, SelfAttention(channels, wrap=wrap))
        super().__init__(config, info=info, blocks=blocks, from_pixel=True)


class SAGANDiscriminator(StackedDiscriminator):
    """Image → … → 4×4 → 1×1, without batch norm; attention where the image has `attention_size` pixels."""

    Config = SAGANDiscriminatorConfig

    def __init__(self, config: SAGANDiscriminatorConfig, *, info: DatasetInfo) -> None:
        wrap = drawn_spectral(config.weight_std)
        stack, last = down_blocks(
            info.image.channels,
            info,
            width=config.width,
            max_channels=config.max_channels,
            activation=leaky_relu(config.slope),
            wrap=wrap,
        )
        # The first block halves the image, and so does each after it.
        at = (info.image.height // config.attention_size).bit_length() - 2
        channels = min(config.width * 2**at, config.max_channels)
        blocks: list[nn.Module] = [*stack]
        blocks.insert(at + 1, SelfAttention(channels, wrap=wrap))
        super().__init__(config, info=info, blocks=blocks, head=logit_block(last, wrap=wrap))
