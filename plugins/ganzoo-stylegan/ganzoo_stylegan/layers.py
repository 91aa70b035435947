"""The layers of StyleGAN2 (arXiv 1912.04958): equalized rates, modulated convolutions."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Literal

import torch
from ganzoo_networks.resample import Resample
from torch import Tensor, nn
from torch.nn import functional as F

EPSILON = 1e-8
SLOPE = 0.2
FASTER = {"cpu": "scaled", "cuda": "scaled"}
"""The faster form of modulated convolutions, by type of device, as `benchmarks/modulated_convolution.py` finds it."""

Form = Literal["auto", "grouped", "scaled"]


def activate(features: Tensor, bias: Tensor, *, gain: float = 1.0, limit: float | None = None) -> Tensor:
    """Add a bias to (N, C, …) and apply LeakyReLU with gain √2 · `gain`, kept in ±`limit` · `gain`."""
    features = features + bias.to(features.dtype).view(1, -1, *[1] * (features.ndim - 2))
    features = F.leaky_relu(features, SLOPE) * (math.sqrt(2) * gain)
    return features if limit is None else features.clamp(-limit * gain, limit * gain)


def normalized(vectors: Tensor) -> Tensor:
    """Return vectors (N, D) with a second moment of 1."""
    return vectors * (vectors.square().mean(1, keepdim=True) + EPSILON).rsqrt()


class EqualizedLinear(nn.Module):
    """A dense layer in fp32 whose weights are N(0, 1), divided by √in when it is applied (arXiv 1710.10196, §4.1).

    Args:
        inputs: numbers of an input.
        outputs: numbers of an output.
        rate: of learning, times that of the optimizer.
        bias: that it starts with.
        activation: whether LeakyReLU follows.
    """

    def __init__(
        self, inputs: int, outputs: int, *, rate: float = 1.0, bias: float = 0.0, activation: bool = False
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / rate)
        self.bias = nn.Parameter(torch.full((outputs,), bias))
        self.rate = rate
        self.gain = rate / math.sqrt(inputs)
        self.activation = activation

    def forward(self, vectors: Tensor) -> Tensor:
        """Return (N, outputs) for (N, inputs)."""
        with torch.autocast(vectors.device.type, enabled=False):
            product = F.linear(vectors.float(), self.weight * self.gain)
            bias = self.bias * self.rate
            return activate(product, bias) if self.activation else product + bias


class Mapping(nn.Module):
    """The mapping from latents, and labels where there are any, to styles: dense layers that learn slowly.

    Args:
        latent_dim: numbers of a latent vector; 0 for a mapping of labels alone.
        labels: numbers of a label; 0 for a mapping of latents alone.
        width: numbers of a style, and of each layer.
        depth: number of layers.
    """

    def __init__(self, latent_dim: int, labels: int, width: int, depth: int) -> None:
        super().__init__()
        self.embed = EqualizedLinear(labels, width) if labels else None
        widths = [latent_dim + (width if labels else 0), *[width] * depth]
        self.layers = nn.ModuleList(
            EqualizedLinear(before, after, rate=0.01, activation=True) for before, after in pairwise(widths)
        )

    def forward(self, latents: Tensor | None, labels: Tensor | None = None) -> Tensor:
        """Return styles (N, width) for latents (N, latent_dim) and labels (N, K)."""
        inputs = [] if latents is None else [normalized(latents.float())]
        if self.embed is not None:
            assert labels is not None
            inputs.append(normalized(self.embed(labels)))
        styles = torch.cat(inputs, 1)
        for layer in self.layers:
            styles = layer(styles)
        return styles


class EqualizedConv(nn.Module):
    """A convolution of the discriminator, whose weights are N(0, 1) and divided by √fan-in when it is applied.

    Args:
        inputs: channels of the input.
        outputs: channels of the output.
        size: of the kernel.
        down: whether to halve height and width, filtered.
        activation: whether a bias and LeakyReLU follow.
        gain: of the output.
        limit: of the activations, before the gain.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: int,
        *,
        down: bool = False,
        activation: bool = True,
        gain: float = 1.0,
        limit: float | None = None,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, size, size))
        self.bias = nn.Parameter(torch.zeros(outputs)) if activation else None
        self.scale = 1 / math.sqrt(inputs * size**2)
        self.gain, self.limit = gain, limit
        self.padding = size // 2
        self.resample = Resample() if down else None

    def forward(self, images: Tensor) -> Tensor:
        """Return (N, outputs, H, W) for (N, inputs, H, W), or half of both."""
        weight = self.weight * self.scale
        if self.resample is None:
            images = F.conv2d(images, weight, padding=self.padding)
        elif self.padding:
            images = F.conv2d(self.resample.blur(images, self.padding + 1), weight, stride=2)
        else:
            images = F.conv2d(self.resample.halved(images), weight)
        if self.bias is not None:
            return activate(images, self.bias, gain=self.gain, limit=self.limit)
        return images * self.gain


def modulated_conv2d(
    images: Tensor, weight: Tensor, styles: Tensor, *, demodulate: bool, up: bool = False, form: Form = "auto"
) -> Tensor:
    """Convolve each image with weights of which its style scales the input channels (arXiv 1912.04958, §2.2).

    Args:
        images: (N, in, H, W).
        weight: (out, in, k, k), with k odd.
        styles: (N, in), in fp32.
        demodulate: divide by the norm of an output channel's weights.
        up: transposed, with stride 2 and without padding: (N, out, 2H + 1, 2W + 1) for k = 3.
        form: weights for each image, in groups, or scaled inputs and outputs; both are the same but for rounding.
    """
    if torch.compiler.is_exporting():
        form = "scaled"  # ONNX has no groups as many as images
    elif form == "auto":
        form = FASTER.get(images.device.type, "scaled")  # type: ignore[assignment]
    gains = None
    if demodulate:
        with torch.autocast(images.device.type, enabled=False):
            gains = (F.linear(styles.square(), weight.float().square().sum((2, 3))) + EPSILON).rsqrt()
    if form == "grouped":
        return _grouped(images, weight, styles, gains, up=up)
    images = images * styles.to(images.dtype)[:, :, None, None]
    if up:
        images = F.conv_transpose2d(images, weight.transpose(0, 1), stride=2)
    else:
        images = F.conv2d(images, weight, padding=weight.shape[2] // 2)
    return images if gains is None else images * gains.to(images.dtype)[:, :, None, None]


def _grouped(images: Tensor, weight: Tensor, styles: Tensor, gains: Tensor | None, *, up: bool) -> Tensor:
    count, weights = len(images), weight * styles[:, None, :, None, None]
    if gains is not None:
        weights = weights * gains[:, :, None, None, None]
    together = images.reshape(1, -1, *images.shape[2:])
    if up:
        kernels = weights.transpose(1, 2).flatten(0, 1)
        together = F.conv_transpose2d(together, kernels, stride=2, groups=count)
    else:
        together = F.conv2d(together, weights.flatten(0, 1), padding=weight.shape[2] // 2, groups=count)
    return together.reshape(count, -1, *together.shape[2:])
