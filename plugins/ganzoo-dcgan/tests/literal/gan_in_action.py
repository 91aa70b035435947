"""The Keras networks of "GANs in Action", ch. 3 and 4: channels last, Keras' shapes of weights, padding "same".

Convolutions are sums over the taps of the kernel, so that nothing of torch's convolutions and their padding is used.
"""

from __future__ import annotations

from math import ceil, sqrt

import torch
from torch import Tensor
from torch.nn import functional as F

Weights = list[Tensor]


def glorot(*shape: int) -> Tensor:
    taps = shape[0] * shape[1] if len(shape) == 4 else 1
    limit = sqrt(6 / (taps * (shape[-1] + shape[-2])))
    return torch.empty(shape).uniform_(-limit, limit)


def conv2d(x: Tensor, kernel: Tensor, bias: Tensor, stride: int) -> Tensor:
    """Images (N, H, W, in) by a kernel (k, k, in, out), padding "same"."""
    k, (height, width) = len(kernel), x.shape[1:3]
    rows, columns = ceil(height / stride), ceil(width / stride)
    over_rows = max(0, (rows - 1) * stride + k - height)
    over_columns = max(0, (columns - 1) * stride + k - width)
    top, left = over_rows // 2, over_columns // 2
    x = F.pad(x, (0, 0, left, over_columns - left, top, over_rows - top))
    result = bias.expand(len(x), rows, columns, -1)
    for i in range(k):
        for j in range(k):
            taken = x[:, i : i + stride * (rows - 1) + 1 : stride, j : j + stride * (columns - 1) + 1 : stride]
            result = result + taken @ kernel[i, j]
    return result


def conv2d_transpose(x: Tensor, kernel: Tensor, bias: Tensor, stride: int) -> Tensor:
    """Images (N, H, W, in) by a kernel (k, k, out, in), padding "same": every pixel stamps the kernel, then crop."""
    n, height, width, _ = x.shape
    k = len(kernel)
    full = x.new_zeros(n, (height - 1) * stride + k, (width - 1) * stride + k, kernel.shape[2])
    for i in range(k):
        for j in range(k):
            stamp = torch.zeros_like(full)
            stamp[:, i : i + stride * (height - 1) + 1 : stride, j : j + stride * (width - 1) + 1 : stride] = (
                x @ kernel[i, j].T
            )
            full = full + stamp
    before = (k - stride) // 2
    return full[:, before : before + stride * height, before : before + stride * width] + bias


class BatchNormalization:
    """Keras' defaults: momentum 0.99, ε 0.001; gain 1, bias 0; `training` as in a call of the layer."""

    def __init__(self, units: int) -> None:
        self.gamma, self.beta = torch.ones(units), torch.zeros(units)
        self.moving_mean, self.moving_variance = torch.zeros(units), torch.ones(units)

    def __call__(self, x: Tensor, training: bool) -> Tensor:
        mean, variance = self.moving_mean, self.moving_variance
        if training:
            mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2), unbiased=False)
            unbiased = x.detach().var((0, 1, 2), unbiased=True)  # what the fused kernel keeps
            self.moving_mean = 0.99 * self.moving_mean + 0.01 * mean.detach()
            self.moving_variance = 0.99 * self.moving_variance + 0.01 * unbiased
        return (x - mean) / torch.sqrt(variance + 1e-3) * self.gamma + self.beta


class Generator:
    """Latents (N, z_dim) to images (N, 28, 28, 1)."""

    def __init__(self, z_dim: int = 100, f: int = 64) -> None:
        self.f = f
        self.norms = [BatchNormalization(2 * f), BatchNormalization(f)]
        self.dense = [glorot(z_dim, 4 * f * 7 * 7), torch.zeros(4 * f * 7 * 7)]
        self.up = [
            [glorot(3, 3, 2 * f, 4 * f), torch.zeros(2 * f)],
            [glorot(3, 3, f, 2 * f), torch.zeros(f)],
            [glorot(3, 3, 1, f), torch.zeros(1)],
        ]

    def weights(self) -> Weights:
        first, second = self.norms
        return [
            *self.dense,
            *self.up[0],
            first.gamma,
            first.beta,
            *self.up[1],
            second.gamma,
            second.beta,
            *self.up[2],
        ]

    def __call__(self, z: Tensor, training: bool) -> Tensor:
        x = (z @ self.dense[0] + self.dense[1]).reshape(-1, 7, 7, 4 * self.f)
        x = F.leaky_relu(self.norms[0](conv2d_transpose(x, *self.up[0], stride=2), training), 0.01)
        x = F.leaky_relu(self.norms[1](conv2d_transpose(x, *self.up[1], stride=1), training), 0.01)
        return torch.tanh(conv2d_transpose(x, *self.up[2], stride=2))


class Discriminator:
    """Images (N, 28, 28, 1) to probabilities (N, 1), in a reader's version; `normed`: as in the book's notebook."""

    def __init__(self, f: int = 32, *, normed: bool = False) -> None:
        self.norms = [BatchNormalization(2 * f), BatchNormalization(4 * f)] if normed else []
        self.down = [
            [glorot(3, 3, 1, f), torch.zeros(f)],
            [glorot(3, 3, f, 2 * f), torch.zeros(2 * f)],
            [glorot(3, 3, 2 * f, 4 * f), torch.zeros(4 * f)],
        ]
        self.dense = [glorot(4 * 4 * 4 * f, 1), torch.zeros(1)]

    def weights(self) -> Weights:
        norms = [[], *([norm.gamma, norm.beta] for norm in self.norms)] if self.norms else [[], [], []]
        down = [[*layer, *norm] for layer, norm in zip(self.down, norms, strict=True)]
        return [weight for layer in (*down, self.dense) for weight in layer]

    def __call__(self, x: Tensor, training: bool = True) -> Tensor:
        first, *others = self.down
        x = F.leaky_relu(conv2d(x, *first, stride=2), 0.01)
        for place, (kernel, bias) in enumerate(others):
            x = conv2d(x, kernel, bias, stride=2)
            x = F.leaky_relu(self.norms[place](x, training) if self.norms else x, 0.01)
        return torch.sigmoid(x.flatten(1) @ self.dense[0] + self.dense[1])


def as_torch(weight: Tensor) -> Tensor:
    """A kernel with torch's order of dimensions; that of a transposed convolution (k, k, out, in) alike."""
    return weight.permute(3, 2, 0, 1) if weight.ndim == 4 else weight.T if weight.ndim == 2 else weight


def generator_as_torch(generator: Generator) -> Weights:
    """The weights, the units of the dense layer brought from rows, columns, channels to channels, rows, columns."""
    kernel, bias, *others = generator.weights()
    shape = (-1, 7, 7, 4 * generator.f)
    kernel, bias = (units.reshape(shape).permute(0, 3, 1, 2).reshape(len(units), -1) for units in (kernel, bias[None]))
    return [kernel.T, bias[0], *map(as_torch, others)]


def discriminator_as_torch(discriminator: Discriminator) -> Weights:
    """The weights, the inputs of the dense layer brought from rows, columns, channels to channels, rows, columns."""
    *convolutions, kernel, bias = discriminator.weights()
    kernel = kernel.reshape(4, 4, -1).permute(2, 0, 1).reshape(1, -1)
    return [*map(as_torch, convolutions), kernel, bias]


class Adam:
    """Adam with Keras' defaults."""

    def __init__(self, weights: Weights) -> None:
        self.optimizer = torch.optim.Adam(weights, lr=1e-3, betas=(0.9, 0.999), eps=1e-7, foreach=False, fused=False)

    def step(self, loss: Tensor) -> None:
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


def train_step(
    generator: Generator, discriminator: Discriminator, adams: tuple[Adam, Adam], real: Tensor, z1: Tensor, z2: Tensor
) -> None:
    """The discriminator on real images, on generated ones of `predict`, then the generator on other latents."""

    def bce(probabilities: Tensor, target: float) -> Tensor:
        return F.binary_cross_entropy(probabilities, torch.full_like(probabilities, target))

    generator_adam, discriminator_adam = adams
    with torch.no_grad():
        fake = generator(z1, training=False)
    discriminator_adam.step(bce(discriminator(real), 1.0))
    discriminator_adam.step(bce(discriminator(fake), 0.0))
    generator_adam.step(bce(discriminator(generator(z2, training=True)), 1.0))
