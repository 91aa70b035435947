"""DCGAN (arXiv 1511.06434) of 5×5 convolutions behind a dense projection."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

from torch import nn

from ganzoo.plugin import DatasetInfo
from ganzoo_dcgan.blocks import NORMS, DownBlock, Projection, UpBlock, init_weights, leaky_relu
from ganzoo_dcgan.configs import DenseDiscriminatorConfig, DenseGeneratorConfig
from ganzoo_dcgan.stacks import StackedDiscriminator, StackedGenerator

LAYERS = 4


class DenseGenerator(StackedGenerator):
    """Dense → a sixteenth of the size, no activation → four doublings; 1024, 512, 256, 128 channels."""

    Config = DenseGeneratorConfig

    def __init__(self, config: DenseGeneratorConfig, *, info: DatasetInfo) -> None:
        norm = NORMS[config.norm]
        widths = [config.width * 2**power for power in range(LAYERS - 1, -1, -1)]
        up = partial(UpBlock, kernel_size=5, bias=True, upsampling=config.upsampling)
        blocks = [
            Projection(config.latent_dim, widths[0], info.image.height // 2**LAYERS, norm=norm),
            *(up(before, after, norm=norm) for before, after in pairwise(widths)),
            up(widths[-1], info.image.channels, norm=None, activation=nn.Tanh),
        ]
        super().__init__(config, info=info, blocks=blocks)
        init_weights(self, **config.init.model_dump())


class DenseDiscriminator(StackedDiscriminator):
    """Four halvings, 128, 256, 512, 1024 channels, then a dense layer to the logit."""

    Config = DenseDiscriminatorConfig

    def __init__(self, config: DenseDiscriminatorConfig, *, info: DatasetInfo) -> None:
        activation = leaky_relu(config.slope)
        widths = [config.width * 2**power for power in range(LAYERS)]
        blocks = [
            DownBlock(info.image.channels, widths[0], kernel_size=5, bias=True, norm=None, activation=activation),
            *(
                DownBlock(before, after, kernel_size=5, bias=True, norm=NORMS[config.norm], activation=activation)
                for before, after in pairwise(widths)
            ),
        ]
        size = info.image.height // 2**LAYERS
        head = nn.Sequential(nn.Flatten(), nn.Linear(widths[-1] * size * size, 1))
        super().__init__(config, info=info, blocks=blocks, head=head)
        init_weights(self, **config.init.model_dump())
