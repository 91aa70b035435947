"""The DCGAN authors' networks, written out in NumPy from the definitions of Theano's operations.

`Weights` are the parameters in the order of their files, as Theano holds them.
"""

from __future__ import annotations

import numpy as np
from scipy.signal import convolve2d

Weights = list[np.ndarray]
START = 4


def theano_conv(images: np.ndarray, kernels: np.ndarray) -> np.ndarray:
    """A convolution as mathematics has it, padded by 2, every other value kept: `dnn_conv(…, (2, 2), (2, 2))`."""
    padded = np.pad(images, ((0, 0), (0, 0), (2, 2), (2, 2)))
    return np.stack(
        [
            np.stack(
                [
                    sum(convolve2d(channel, k, mode="valid") for channel, k in zip(image, kernel, strict=True))[
                        ::2, ::2
                    ]
                    for kernel in kernels
                ]
            )
            for image in padded
        ]
    )


def theano_deconv(images: np.ndarray, kernels: np.ndarray) -> np.ndarray:
    """The gradient of `theano_conv` with respect to its input: each value goes back to where it came from.

    out[y] = Σ_a padded[2y + 4 − a] · k[a], so the gradient of padded[2y + 4 − a] is out[y] · k[a].
    """
    count, _, height, width = images.shape
    gradient = np.zeros((count, kernels.shape[1], 2 * height + 4, 2 * width + 4))
    for y in range(height):
        for x in range(width):
            for a in range(5):
                for b in range(5):
                    gradient[:, :, 2 * y + 4 - a, 2 * x + 4 - b] += images[:, :, y, x] @ kernels[:, :, a, b]
    return gradient[:, :, 2:-2, 2:-2]


def theano_batch_norm(values: np.ndarray, gain: np.ndarray, bias: np.ndarray) -> np.ndarray:
    axes = (0, 2, 3) if values.ndim == 4 else (0,)
    shape = (1, -1, 1, 1) if values.ndim == 4 else (1, -1)
    mean = values.mean(axes, keepdims=True)
    variance = ((values - mean) ** 2).mean(axes, keepdims=True)
    return (values - mean) / np.sqrt(variance + 1e-8) * gain.reshape(shape) + bias.reshape(shape)


def theano_generator(latents: np.ndarray, weights: Weights) -> np.ndarray:
    dense, gain, bias, *rest = weights
    units = np.maximum(theano_batch_norm(np.dot(latents, dense), gain, bias), 0)
    images = units.reshape(len(units), -1, START, START)
    while len(rest) > 1:
        kernel, gain, bias, *rest = rest
        images = np.maximum(theano_batch_norm(theano_deconv(images, kernel), gain, bias), 0)
    return np.tanh(theano_deconv(images, rest[0]))


def theano_discriminator(images: np.ndarray, weights: Weights) -> np.ndarray:
    def leaky(values: np.ndarray) -> np.ndarray:
        return np.where(values > 0, values, 0.2 * values)

    kernel, *rest = weights
    maps = leaky(theano_conv(images, kernel))
    while len(rest) > 1:
        kernel, gain, bias, *rest = rest
        maps = leaky(theano_batch_norm(theano_conv(maps, kernel), gain, bias))
    return np.dot(maps.reshape(len(maps), -1), rest[0])[:, 0]
