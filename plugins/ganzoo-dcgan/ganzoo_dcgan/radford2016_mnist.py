"""The conditional DCGAN (arXiv 1511.06434) that the authors trained on MNIST: the label is an input of every layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ganzoo.plugin import DatasetInfo
from ganzoo_dcgan.blocks import (
    DenseBlock,
    DownBlock,
    Projection,
    UpBlock,
    batch_norm,
    init_weights,
    leaky_relu,
    relu,
)
from ganzoo_dcgan.configs import Radford2016MNISTDiscriminatorConfig, Radford2016MNISTGeneratorConfig
from ganzoo_dcgan.stacks import ConditionalStackedDiscriminator, ConditionalStackedGenerator

NORM = batch_norm(eps=1e-8, affine=False, track=False)
UNIT_NORM = batch_norm(eps=1e-8, affine=False, track=False, flat=True)


class Radford2016MNISTGenerator(ConditionalStackedGenerator):
    """Dense 1024 → dense 128·7·7 → 64·14·14 → image of 28 pixels; no bias, norms without gain and bias.

    The authors' sigmoid gives [0, 1]; here it is stretched to [−1, 1].
    """

    Config = Radford2016MNISTGeneratorConfig

    def __init__(self, config: Radford2016MNISTGeneratorConfig, *, info: DatasetInfo) -> None:
        classes, width, units = info.num_classes, config.width, config.dense_width
        start = info.image.height // 4
        blocks = [
            DenseBlock(config.latent_dim + classes, units, bias=False, norm=UNIT_NORM, activation=relu),
            Projection(units + classes, 2 * width, start, bias=False, norm=UNIT_NORM, norm_units=True, activation=relu),
            UpBlock(2 * width + classes, width, kernel_size=5, norm=NORM),
            UpBlock(width + classes, info.image.channels, kernel_size=5, norm=None, activation=StretchedSigmoid),
        ]
        super().__init__(config, info=info, blocks=blocks, prior=config.latents)
        init_weights(self, **config.init.model_dump())


class Radford2016MNISTDiscriminator(ConditionalStackedDiscriminator):
    """Image of 28 pixels → 64·14·14 → 128·7·7 → dense 1024 → logit; no bias, norms without gain and bias.

    Images are brought from [−1, 1] to the authors' [0, 1] first.
    """

    Config = Radford2016MNISTDiscriminatorConfig

    def __init__(self, config: Radford2016MNISTDiscriminatorConfig, *, info: DatasetInfo) -> None:
        activation = leaky_relu(config.slope)
        classes, width, units = info.num_classes, config.width, config.dense_width
        end = info.image.height // 4
        blocks = [
            DownBlock(info.image.channels + classes, width, kernel_size=5, norm=None, activation=activation),
            DownBlock(width + classes, 2 * width, kernel_size=5, norm=NORM, activation=activation),
        ]
        head = [
            DenseBlock(2 * width * end * end + classes, units, bias=False, norm=UNIT_NORM, activation=activation),
            DenseBlock(units + classes, 1, bias=False),
        ]
        super().__init__(config, info=info, blocks=blocks, head=head)
        init_weights(self, **config.init.model_dump())

    def forward(self, images: Tensor, *, labels: Tensor) -> Tensor:  # type: ignore[override]
        """Return logits (N,) for images (N, C, H, W) in [−1, 1] and class indices (N,)."""
        return super().forward((images + 1) / 2, labels=labels)

    def features(self, images: Tensor, *, labels: Tensor | None = None) -> list[Tensor]:
        """Return the output of each convolution, for images in [−1, 1]; unknown classes are all in equal parts."""
        return super().features((images + 1) / 2, labels=labels)


class StretchedSigmoid(nn.Module):
    """Sigmoid with its values in [0, 1] stretched to [−1, 1]."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Return 2 · sigmoid(x) − 1."""
        return 2 * torch.sigmoid(inputs) - 1
