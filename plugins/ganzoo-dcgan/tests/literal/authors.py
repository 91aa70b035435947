"""The networks of the DCGAN authors' Theano code, as functions of lists of weights with Theano's shapes.

Dense weights are (in, out), convolutions (out, in, k, k), deconvolutions (in, out, k, k): a deconvolution is the
gradient of a convolution with regard to its input. Batch norm is spelled out, and always of the batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.grad import conv2d_input

Weights = list[Tensor]


def normal(*shape: int) -> Tensor:
    return 0.02 * torch.randn(shape)


def norm_weights(units: int) -> Weights:
    """Gain and bias."""
    return [1 + normal(units), torch.zeros(units)]


def batchnorm(x: Tensor, gain: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
    axes, shape = ((0, 2, 3), (1, -1, 1, 1)) if x.ndim == 4 else ((0,), (1, -1))
    mean = x.mean(axes, keepdim=True)
    variance = ((x - mean) ** 2).mean(axes, keepdim=True)
    x = (x - mean) / torch.sqrt(variance + 1e-8)
    return x if gain is None or bias is None else x * gain.view(shape) + bias.view(shape)


def deconv(x: Tensor, w: Tensor, stride: int) -> Tensor:
    size = (len(x), w.shape[1], stride * x.shape[2], stride * x.shape[3])
    return conv2d_input(size, w, x, stride=stride, padding=w.shape[2] // 2)


def conv(x: Tensor, w: Tensor, stride: int) -> Tensor:
    return F.conv2d(x, w, stride=stride, padding=w.shape[2] // 2)


def lrelu(x: Tensor) -> Tensor:
    return 0.6 * x + 0.4 * x.abs()


# Faces at 64 pixels (ngf = ndf = 128); SVHN at 32 pixels (64) has one layer less.


def faces_gen_weights(nc: int = 3, nz: int = 100, widths: tuple[int, ...] = (1024, 512, 256, 128)) -> Weights:
    weights = [normal(nz, widths[0] * 16), *norm_weights(widths[0] * 16)]
    for before, after in pairwise(widths):
        weights += [normal(before, after, 5, 5), *norm_weights(after)]
    return [*weights, normal(widths[-1], nc, 5, 5)]


def faces_gen(z: Tensor, weights: Weights) -> Tensor:
    left = iter(weights)
    h = F.relu(batchnorm(z @ next(left), next(left), next(left)))
    h = h.reshape(len(z), -1, 4, 4)
    for w, gain, bias in triples(weights[3:-1]):
        h = F.relu(batchnorm(deconv(h, w, 2), gain, bias))
    return torch.tanh(deconv(h, weights[-1], 2))


def faces_discrim_weights(nc: int = 3, widths: tuple[int, ...] = (128, 256, 512, 1024)) -> Weights:
    weights = [normal(widths[0], nc, 5, 5)]
    for before, after in pairwise(widths):
        weights += [normal(after, before, 5, 5), *norm_weights(after)]
    return [*weights, normal(widths[-1] * 16, 1)]


def faces_discrim(x: Tensor, weights: Weights) -> Tensor:
    h = lrelu(conv(x, weights[0], 2))
    for w, gain, bias in triples(weights[1:-1]):
        h = lrelu(batchnorm(conv(h, w, 2), gain, bias))
    return torch.sigmoid(h.flatten(1) @ weights[-1])


# ImageNet at 32 pixels (ngf = ndf = 128, nz = 256).


def imagenet_gen_weights(nc: int = 3, nz: int = 256, ngf: int = 128) -> Weights:
    weights = [normal(nz, ngf * 4 * 16), *norm_weights(ngf * 4 * 16)]
    for before, after in ((4, 4), (4, 2), (2, 2), (2, 1), (1, 1)):
        weights += [normal(ngf * before, ngf * after, 3, 3), *norm_weights(ngf * after)]
    return [*weights, normal(ngf, nc, 3, 3)]


def imagenet_gen(z: Tensor, weights: Weights) -> Tensor:
    h = F.relu(batchnorm(z @ weights[0], weights[1], weights[2]))
    h = h.reshape(len(z), -1, 4, 4)
    for stride, (w, gain, bias) in zip((2, 1, 2, 1, 2), triples(weights[3:-1]), strict=True):
        h = F.relu(batchnorm(deconv(h, w, stride), gain, bias))
    return torch.tanh(deconv(h, weights[-1], 1))


def imagenet_discrim_weights(nc: int = 3, ndf: int = 128) -> Weights:
    weights = [normal(ndf, nc, 3, 3)]
    for before, after in ((1, 1), (1, 2), (2, 2), (2, 4), (4, 4)):
        weights += [normal(ndf * after, ndf * before, 3, 3), *norm_weights(ndf * after)]
    return [*weights, normal(ndf * 4 * 16, 1)]


def imagenet_discrim(x: Tensor, weights: Weights) -> Tensor:
    h = lrelu(conv(x, weights[0], 1))
    for stride, (w, gain, bias) in zip((2, 1, 2, 1, 2), triples(weights[1:-1]), strict=True):
        h = lrelu(batchnorm(conv(h, w, stride), gain, bias))
    return torch.sigmoid(h.flatten(1) @ weights[-1])


# MNIST at 28 pixels with labels (ngf = ndf = 64, 1024 dense units); images are in [0, 1], labels one-hot.


def mnist_gen_weights(nz: int = 100, ny: int = 10, ngf: int = 64, ngfc: int = 1024) -> Weights:
    return [
        normal(nz + ny, ngfc),
        normal(ngfc + ny, ngf * 2 * 7 * 7),
        normal(ngf * 2 + ny, ngf, 5, 5),
        normal(ngf + ny, 1, 5, 5),
    ]


def mnist_gen(z: Tensor, y: Tensor, weights: Weights) -> Tensor:
    w, w2, w3, wx = weights
    h = F.relu(batchnorm(torch.cat([z, y], 1) @ w))
    h2 = F.relu(batchnorm(torch.cat([h, y], 1) @ w2)).reshape(len(z), -1, 7, 7)
    h3 = F.relu(batchnorm(deconv(with_labels(h2, y), w3, 2)))
    return torch.sigmoid(deconv(with_labels(h3, y), wx, 2))


def mnist_discrim_weights(ny: int = 10, ndf: int = 64, ndfc: int = 1024) -> Weights:
    return [
        normal(ndf, 1 + ny, 5, 5),
        normal(ndf * 2, ndf + ny, 5, 5),
        normal(ndf * 2 * 7 * 7 + ny, ndfc),
        normal(ndfc + ny, 1),
    ]


def mnist_discrim(x: Tensor, y: Tensor, weights: Weights) -> Tensor:
    w, w2, w3, wy = weights
    h = lrelu(conv(with_labels(x, y), w, 2))
    h2 = lrelu(batchnorm(conv(with_labels(h, y), w2, 2))).flatten(1)
    h3 = lrelu(batchnorm(torch.cat([h2, y], 1) @ w3))
    return torch.sigmoid(torch.cat([h3, y], 1) @ wy)


def with_labels(x: Tensor, y: Tensor) -> Tensor:
    return torch.cat([x, y[:, :, None, None] * torch.ones(len(x), y.shape[1], *x.shape[2:])], 1)


def triples(weights: Weights) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    yield from zip(weights[::3], weights[1::3], weights[2::3], strict=True)


class Adam:
    """The authors' Adam: L2 is added to the gradient of every weight, norms included."""

    def __init__(self, weights: Weights, lr: float, l2: float, b1: float = 0.5, b2: float = 0.999) -> None:
        self.weights, self.lr, self.l2, self.b1, self.b2, self.t = weights, lr, l2, b1, b2, 0
        self.m = [torch.zeros_like(weight) for weight in weights]
        self.v = [torch.zeros_like(weight) for weight in weights]

    def step(self, cost: Tensor) -> None:
        gradients = torch.autograd.grad(cost, self.weights)
        self.t += 1
        with torch.no_grad():
            for weight, gradient, m, v in zip(self.weights, gradients, self.m, self.v, strict=True):
                gradient = gradient + weight * self.l2
                m.mul_(self.b1).add_((1 - self.b1) * gradient)
                v.mul_(self.b2).add_((1 - self.b2) * gradient**2)
                corrected = m / (1 - self.b1**self.t)
                weight -= self.lr * corrected / (torch.sqrt(v / (1 - self.b2**self.t)) + 1e-8)
