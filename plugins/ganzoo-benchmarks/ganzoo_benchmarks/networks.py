"""The networks of the protocols: dense ones for points, and the 28-pixel DCGAN."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn

from ganzoo.plugin import DatasetInfo, Discriminator, Generator, square_size
from ganzoo_benchmarks.configs import (
    DCGAN28DiscriminatorConfig,
    DCGAN28GeneratorConfig,
    MLPDiscriminatorConfig,
    MLPGeneratorConfig,
)

SLOPE = 0.2
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "leaky_relu": lambda: nn.LeakyReLU(SLOPE),
}


class Maxout(nn.Module):
    """The largest of each unit's `pieces` (arXiv 1302.4389); units are neighbors, the pieces of one lie apart."""

    def __init__(self, pieces: int) -> None:
        super().__init__()
        self.pieces = pieces

    def forward(self, values: Tensor) -> Tensor:
        """Return (N, D) for (N, pieces · D)."""
        return cast("Tensor", _Largest.apply(values.reshape(len(values), self.pieces, -1)))


class _Largest(torch.autograd.Function):
    """`amax` over the second dimension, with the same gradient in half the time on CPUs.

    Torch's compares into booleans, which have to be converted; comparing in place gives numbers at once.
    """

    @staticmethod
    def forward(values: Tensor) -> Tensor:
        """Return (N, D) for (N, pieces, D)."""
        return values.amax(1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        """Keep what the gradient depends on."""
        ctx.save_for_backward(*inputs, output)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        """Return the gradient of (N, pieces, D) for that of (N, D)."""
        values, largest = (saved.detach() for saved in ctx.saved_tensors)
        share: Tensor = values.clone().eq_(largest.unsqueeze(1))
        share /= share.sum(1, keepdim=True)
        return gradient.unsqueeze(1) * share


class MLPGenerator(Generator):
    """Dense layers from latents to samples, the last one linear."""

    Config = MLPGeneratorConfig
    bounded = False

    def __init__(self, config: MLPGeneratorConfig, *, info: DatasetInfo) -> None:
        super().__init__(config, info=info)
        layers: list[nn.Module] = []
        for before, after in pairwise([config.latent_dim, *config.hidden]):
            layers.append(nn.Linear(before, after, bias=config.bias))
            if config.norm == "batch":
                layers.append(nn.BatchNorm1d(after))
            layers.append(ACTIVATIONS[config.activation]())
        last = nn.Linear(config.hidden[-1], math.prod(info.samples.shape), bias=config.bias)
        self.layers = nn.Sequential(*layers, last)
        initialize(self, config.init, config.init_scale)

    def forward(self, latents: Tensor) -> Tensor:
        """Return samples (N, …) for latents (N, latent_dim)."""
        samples: Tensor = self.layers(latents)
        return samples.reshape(-1, *self.info.samples.shape)


class MLPDiscriminator(Discriminator):
    """Dense layers from samples to one logit."""

    Config = MLPDiscriminatorConfig

    def __init__(self, config: MLPDiscriminatorConfig, *, info: DatasetInfo) -> None:
        super().__init__(config, info=info)
        pieces = config.pieces if config.activation == "maxout" else 1
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Linear(before, after * pieces, bias=config.bias),
                Maxout(pieces) if config.activation == "maxout" else ACTIVATIONS[config.activation](),
            )
            for before, after in pairwise([math.prod(info.samples.shape), *config.hidden])
        )
        self.head = nn.Linear(config.hidden[-1], 1, bias=config.bias)
        initialize(self, config.init, config.init_scale)

    def forward(self, samples: Tensor) -> Tensor:
        """Return logits (N,) for samples (N, …)."""
        logits: Tensor = self.head(self.features(samples)[-1])
        return logits.squeeze(1)

    def features(self, samples: Tensor) -> list[Tensor]:
        """Return the output of each hidden layer."""
        features, values = [], samples.flatten(1) * self.config.input_scale
        for block in self.blocks:
            values = block(values)
            features.append(values)
        return features


class DCGAN28Generator(Generator):
    """A dense projection, then 5×5 transposed convolutions with batch norm and ReLU, and tanh at the end."""

    Config = DCGAN28GeneratorConfig

    def __init__(self, config: DCGAN28GeneratorConfig, *, info: DatasetInfo) -> None:
        super().__init__(config, info=info)
        sizes = [square_size(info.image)]
        for _ in range(config.depth):
            sizes.insert(0, -(-sizes[0] // 2))
        widths = [config.width * 2**power for power in reversed(range(config.depth))]
        self.first_shape = (widths[0], sizes[0], sizes[0])
        self.projection = nn.Linear(config.latent_dim, math.prod(self.first_shape))
        layers: list[nn.Module] = [nn.BatchNorm2d(widths[0]), nn.ReLU(inplace=True)]
        for (before, after), (small, large) in zip(
            pairwise([*widths, info.image.channels]), pairwise(sizes), strict=True
        ):
            rest = large - (2 * small - 1)  # 1 where the size doubles, 0 where the half was rounded up
            layers.append(nn.ConvTranspose2d(before, after, 5, stride=2, padding=2, output_padding=rest))
            layers += [nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*layers[:-2], nn.Tanh())
        initialize(self, "normal", 0.02)

    def sample_latents(self, count: int, rng: torch.Generator) -> Tensor:
        """Draw latents (count, latent_dim) from the distribution that the options name."""
        if self.config.latent == "normal":
            return super().sample_latents(count, rng)
        return torch.rand(count, self.config.latent_dim, generator=rng, device=rng.device) * 2 - 1

    def forward(self, latents: Tensor) -> Tensor:
        """Return images (N, C, H, W) for latents (N, latent_dim)."""
        images: Tensor = self.layers(self.projection(latents).reshape(-1, *self.first_shape))
        return images


class DCGAN28Discriminator(Discriminator):
    """5×5 convolutions of stride 2, batch norm in all but the first, and a dense layer to one logit."""

    Config = DCGAN28DiscriminatorConfig

    def __init__(self, config: DCGAN28DiscriminatorConfig, *, info: DatasetInfo) -> None:
        super().__init__(config, info=info)
        widths = [info.image.channels, *(config.width * 2**power for power in range(config.depth))]
        size = square_size(info.image)
        self.blocks = nn.ModuleList()
        for before, after in pairwise(widths):
            norm = [nn.BatchNorm2d(after)] if self.blocks else []
            activation = nn.LeakyReLU(config.slope, inplace=True)
            self.blocks.append(nn.Sequential(nn.Conv2d(before, after, 5, 2, 2), *norm, activation))
            size = -(-size // 2)
        self.head = nn.Linear(widths[-1] * size**2, 1)
        initialize(self, "normal", 0.02)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N,) for images (N, C, H, W)."""
        logits: Tensor = self.head(self.features(images)[-1].flatten(1))
        return logits.squeeze(1)

    def features(self, images: Tensor) -> list[Tensor]:
        """Return the output of each block."""
        features = []
        for block in self.blocks:
            images = block(images)
            features.append(images)
        return features


def initialize(network: nn.Module, how: str, scale: float) -> None:
    """Start weights from N(0, scale) or orthogonal with this gain, and biases at 0; norms stay as torch has them."""
    for layer in network.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            if how == "normal":
                nn.init.normal_(layer.weight, std=scale)
            else:
                nn.init.orthogonal_(layer.weight, gain=scale)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
