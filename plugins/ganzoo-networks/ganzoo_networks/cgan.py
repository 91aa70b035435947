"""Conditional DCGAN: labels concatenated to latents and to every pixel (arXiv 1411.1784)."""

from __future__ import annotations

from ganzoo_dcgan.blocks import NORMS, init_weights, leaky_relu
from ganzoo_dcgan.conditioning import concat_labels, one_hot, shares
from ganzoo_dcgan.stacks import StackedDiscriminator, StackedGenerator, down_blocks, logit_block, up_blocks
from torch import Tensor

from ganzoo.plugin import DatasetInfo
from ganzoo_networks.configs import CGANDiscriminatorConfig, CGANGeneratorConfig


class CGANGenerator(StackedGenerator):
    """The generator of `dcgan`, its input longer by a one-hot label."""

    Config = CGANGeneratorConfig

    def __init__(self, config: CGANGeneratorConfig, *, info: DatasetInfo) -> None:
        blocks = up_blocks(
            config.latent_dim + info.num_classes,
            info,
            width=config.width,
            max_channels=config.max_channels,
            norm=NORMS[config.norm],
            edge_bias=config.edge_bias,
            upsampling=config.upsampling,
        )
        super().__init__(config, info=info, blocks=blocks, from_pixel=True)
        init_weights(self, **config.init.model_dump())

    def forward(self, latents: Tensor, *, labels: Tensor) -> Tensor:  # type: ignore[override]
        """Return images (N, C, H, W) for latents (N, latent_dim) and class indices (N,)."""
        return super().forward(concat_labels(latents, one_hot(labels, self.info.num_classes)))


class CGANDiscriminator(StackedDiscriminator):
    """The discriminator of `dcgan`; the image has one more channel a class, 1 in that of the label."""

    Config = CGANDiscriminatorConfig

    def __init__(self, config: CGANDiscriminatorConfig, *, info: DatasetInfo) -> None:
        blocks, channels = down_blocks(
            info.image.channels + info.num_classes,
            info,
            width=config.width,
            max_channels=config.max_channels,
            norm=NORMS[config.norm],
            edge_bias=config.edge_bias,
            activation=leaky_relu(config.slope),
        )
        super().__init__(config, info=info, blocks=blocks, head=logit_block(channels, bias=config.edge_bias))
        init_weights(self, **config.init.model_dump())

    def forward(self, images: Tensor, *, labels: Tensor) -> Tensor:  # type: ignore[override]
        """Return logits (N,) for images (N, C, H, W) and class indices (N,)."""
        return super().forward(concat_labels(images, one_hot(labels, self.info.num_classes)))

    def features(self, images: Tensor, *, labels: Tensor | None = None) -> list[Tensor]:
        """Return the output of each block; an unknown class is all classes in equal parts."""
        return super().features(concat_labels(images, shares(labels, self.info.num_classes, images)))
