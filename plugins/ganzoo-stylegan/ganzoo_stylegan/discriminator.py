"""StyleGAN2's discriminator (arXiv 1912.04958): residual blocks down to 4×4, the minibatch's deviation, a logit."""

from __future__ import annotations

import math

from ganzoo_networks.minibatch import MinibatchStdDev
from torch import Tensor, nn

from ganzoo.plugin import DatasetInfo, Discriminator, square_size
from ganzoo_stylegan.configs import StyleGAN2DiscriminatorConfig
from ganzoo_stylegan.labels import label_dim, label_vectors
from ganzoo_stylegan.layers import EqualizedConv, EqualizedLinear, Mapping

END = 4


class DownBlock(nn.Module):
    """Two 3×3 convolutions, the second of which halves the size, and a 1×1 beside them where there are skips.

    Args:
        inputs: channels of the input.
        outputs: channels of the output.
        skip: whether there is a convolution beside; both are then multiplied by √½.
        limit: of the activations.
    """

    def __init__(self, inputs: int, outputs: int, *, skip: bool, limit: float) -> None:
        super().__init__()
        gain = math.sqrt(0.5) if skip else 1.0
        self.conv0 = EqualizedConv(inputs, inputs, 3, limit=limit)
        self.conv1 = EqualizedConv(inputs, outputs, 3, down=True, gain=gain, limit=limit)
        self.skip = EqualizedConv(inputs, outputs, 1, down=True, activation=False, gain=gain) if skip else None

    def forward(self, images: Tensor) -> Tensor:
        """Return (N, outputs, H/2, W/2) for (N, inputs, H, W)."""
        inner: Tensor = self.conv1(self.conv0(images))
        return inner if self.skip is None else inner + self.skip(images)


class StyleGAN2Discriminator(Discriminator):
    """Its logit is an inner product with the label's embedding where it is conditional.

    Differences from the authors' code: plain PyTorch takes the place of its CUDA kernels, and where the group of the
    minibatch's deviation does not divide the minibatch, the largest smaller one that does is taken.
    """

    Config = StyleGAN2DiscriminatorConfig
    config: StyleGAN2DiscriminatorConfig

    def __init__(self, config: StyleGAN2DiscriminatorConfig, *, info: DatasetInfo) -> None:
        super().__init__(config, info=info)
        size, limit = square_size(info.image), config.activation_limit
        self.from_image = EqualizedConv(info.image.channels, config.channels(size, size), 1, limit=limit)
        self.blocks = nn.ModuleList()
        resolution = size
        while resolution > END:
            widths = config.channels(resolution, size), config.channels(resolution // 2, size)
            self.blocks.append(DownBlock(*widths, skip=config.residual, limit=limit))
            resolution //= 2
        width = config.channels(END, size)
        self.deviation = MinibatchStdDev(config.group) if config.group else None
        self.conv = EqualizedConv(width + (1 if config.group else 0), width, 3, limit=limit)
        self.dense = EqualizedLinear(width * END**2, width, activation=True)
        labels = label_dim(info, config.conditional)
        embedding = width if labels else 1
        self.logit = EqualizedLinear(width, embedding)
        self.mapping = Mapping(0, labels, embedding, config.label_layers) if labels else None

    def forward(self, images: Tensor, *, labels: Tensor | None = None) -> Tensor:
        """Return logits (N,) for images (N, C, H, W), and labels where it uses them."""
        logits: Tensor = self.logit(self.features(images)[-1])
        if self.mapping is not None:
            embedded = self.mapping(None, label_vectors(labels, self.info))
            logits = (logits * embedded).sum(1, keepdim=True) / math.sqrt(embedded.shape[1])
        return logits.flatten()

    def features(self, images: Tensor) -> list[Tensor]:
        """Return the output of each block, of the last convolution, and of the dense layer."""
        features = self.from_image(images)
        found: list[Tensor] = []
        for block in self.blocks:
            features = block(features)
            found.append(features)
        if self.deviation is not None:
            features = self.deviation(features)
        found.append(self.conv(features))
        return [*found, self.dense(found[-1].flatten(1))]
