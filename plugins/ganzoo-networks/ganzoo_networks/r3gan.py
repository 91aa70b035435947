"""R3GAN's networks: residual blocks with grouped convolutions, no norm, filtered resampling (arXiv 2501.05441)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganzoo.plugin import DatasetInfo, Discriminator, Generator
from ganzoo_networks.configs import R3GANDiscriminatorConfig, R3GANGeneratorConfig, R3GANOptions
from ganzoo_networks.resample import Downsample, Upsample

L = TypeVar("L", nn.Conv2d, nn.Linear)

SLOPE = 0.2
"""Of LeakyReLU below 0."""
GAIN = math.sqrt(2 / (1 + SLOPE**2))
"""By which LeakyReLU has to be made up for (He et al., arXiv 1502.01852)."""


class R3GANGenerator(Generator):
    """Latents weigh a learned basis of 4×4 pixels; residual blocks, doubled in size between; 1×1 to the image, no tanh.

    The authors' code gives the same images for the same weights. It differs in form: it has CUDA kernels of its own for
    what here are torch's convolutions, biases in the activations rather than in the convolutions before them, and a
    one-hot class times a matrix where this looks up a row. It computes the last stages in fp16, this all in the run's
    precision. It starts at 4×4 pixels, and so does this, unless the size wants 5 to 7, as 28 and 48 pixels do.
    """

    Config = R3GANGeneratorConfig
    config: R3GANGeneratorConfig
    bounded = False

    def __init__(self, config: R3GANGeneratorConfig, *, info: DatasetInfo) -> None:
        super().__init__(config, info=info)
        widths = config.channels(info.image)
        # Without classes the core says so; one row keeps the matrix from being empty until then.
        classes = max(1, info.num_classes) if config.conditional else 0
        self.classes = embedding(classes, config.latent_dim) if classes else None
        inputs = config.latent_dim * (2 if classes else 1)
        self.basis = GenerativeBasis(inputs, widths[0], start(info, widths))
        stages = [blocks(config, widths[0], widths)]
        for before, after in pairwise(widths):
            stages.append(nn.Sequential(*changed(before, after), Upsample(), blocks(config, after, widths)))
        self.stages = nn.Sequential(*stages)
        self.image = convolution(widths[-1], info.image.channels, 1)

    def forward(self, latents: Tensor, *, labels: Tensor | None = None) -> Tensor:
        """Return images (N, C, H, W) for latents (N, latent_dim), and class indices (N,) if `conditional`."""
        if self.classes is not None:
            latents = torch.cat([latents, self.classes(labels)], 1)
        images: Tensor = self.image(self.stages(self.basis(latents)))
        return images


class R3GANDiscriminator(Discriminator):
    """1×1 from the image; residual blocks, halved in size between; a depthwise 4×4 and a linear map to the logit.

    Conditional, the map gives a vector, whose product with one for each class is the logit. What differs from the
    authors' code is as in the generator.
    """

    Config = R3GANDiscriminatorConfig
    config: R3GANDiscriminatorConfig

    def __init__(self, config: R3GANDiscriminatorConfig, *, info: DatasetInfo) -> None:
        super().__init__(config, info=info)
        widths = config.channels(info.image)[::-1]
        classes = max(1, info.num_classes) if config.conditional else 0
        dim = widths[-1] if classes else 1
        self.image = convolution(info.image.channels, widths[0], 1)
        stages = []
        for before, after in pairwise(widths):
            stages.append(nn.Sequential(blocks(config, before, widths), Downsample(), *changed(before, after)))
        self.stages = nn.Sequential(*stages, blocks(config, widths[-1], widths))
        self.basis = convolution(widths[-1], widths[-1], start(info, widths), groups=widths[-1])
        self.logit = drawn(nn.Linear(widths[-1], dim, bias=False), 1.0)
        self.classes = embedding(classes, dim, gain=1 / math.sqrt(dim)) if classes else None

    def forward(self, images: Tensor, *, labels: Tensor | None = None) -> Tensor:
        """Return logits (N,) for images (N, C, H, W), and class indices (N,) if `conditional`."""
        summary: Tensor = self.logit(self.basis(self.stages(self.image(images))).flatten(1))
        if self.classes is not None:
            summary = (summary * self.classes(labels)).sum(1)
        return summary.flatten()

    def features(self, images: Tensor) -> list[Tensor]:
        """Return the output of the blocks at each size, halved but for the last."""
        images = self.image(images)
        maps = []
        for stage in self.stages:
            images = stage(images)
            maps.append(images)
        return maps


class ResidualBlock(nn.Module):
    """1×1 to more channels, grouped 3×3, 1×1 back, LeakyReLU between, added to the input: the identity at its start.

    Args:
        channels: of input and output.
        inner: channels of the 3×3.
        groups: of the 3×3.
        depth: number of blocks in the network, by which the weights are scaled (after Fixup, arXiv 1901.09321).
    """

    def __init__(self, channels: int, inner: int, groups: int, depth: int) -> None:
        super().__init__()
        gain = GAIN * depth**-0.25
        self.expand = convolution(channels, inner, 1, gain=gain, bias=True)
        self.grouped = convolution(inner, inner, 3, gain=gain, bias=True, groups=groups)
        self.reduce = convolution(inner, channels, 1, gain=0.0)

    def forward(self, images: Tensor) -> Tensor:
        """Return (N, C, H, W) for (N, C, H, W)."""
        inner = F.leaky_relu(self.expand(images), SLOPE)
        inner = F.leaky_relu(self.grouped(inner), SLOPE)
        result: Tensor = images + self.reduce(inner)
        return result


class GenerativeBasis(nn.Module):
    """A learned image, each of its channels weighed by a linear map of the latents."""

    def __init__(self, inputs: int, channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.basis = nn.Parameter(torch.randn(channels, *size))
        self.weigh = drawn(nn.Linear(inputs, channels, bias=False), 1.0)

    def forward(self, latents: Tensor) -> Tensor:
        """Return (N, channels, height, width) for latents (N, inputs)."""
        result: Tensor = self.weigh(latents)[:, :, None, None] * self.basis
        return result


def blocks(config: R3GANOptions, channels: int, widths: Sequence[int]) -> nn.Sequential:
    """Return the residual blocks at one size of a network with these widths."""
    depth = config.blocks * len(widths)
    return nn.Sequential(
        *(
            ResidualBlock(channels, channels * config.expansion, config.groups(channels), depth)
            for _ in range(config.blocks)
        )
    )


def changed(before: int, after: int) -> list[nn.Module]:
    """Return a 1×1 convolution where the number of channels changes."""
    return [convolution(before, after, 1)] if before != after else []


def start(info: DatasetInfo, widths: Sequence[int]) -> tuple[int, int]:
    """Return height and width of the smallest image."""
    factor = 2 ** (len(widths) - 1)
    return info.image.height // factor, info.image.width // factor


def convolution(
    before: int,
    after: int,
    size: int | tuple[int, int],
    *,
    gain: float = 1.0,
    bias: bool = False,
    groups: int = 1,
) -> nn.Conv2d:
    """Return a convolution of an odd size that keeps height and width, or of the height and width of its input."""
    padding = size // 2 if isinstance(size, int) else 0
    return drawn(nn.Conv2d(before, after, size, padding=padding, groups=groups, bias=bias), gain)


def embedding(classes: int, dim: int, *, gain: float = 1.0) -> nn.Embedding:
    """Return vectors for classes: the authors' linear map of a one-hot class, by index."""
    result = nn.Embedding(classes, dim)
    nn.init.normal_(result.weight, 0.0, gain / math.sqrt(classes))
    return result


def drawn(layer: L, gain: float) -> L:
    """Draw the weights of a layer from N(0, gain/√fan_in) and set its biases to 0."""
    nn.init.normal_(layer.weight, 0.0, gain / math.sqrt(layer.weight[0].numel()))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
