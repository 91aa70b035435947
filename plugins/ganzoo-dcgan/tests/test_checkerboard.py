"""Checkerboards of transposed convolutions on a square wave, and their absence where pixels are repeated first."""

from __future__ import annotations

import pytest
import torch
from ganzoo_dcgan.blocks import UpBlock, Upsampling, init_weights
from ganzoo_dcgan.configs import DCGANGeneratorConfig, DenseGeneratorConfig
from ganzoo_dcgan.dcgan import DCGANGenerator
from ganzoo_dcgan.dense import DenseGenerator
from torch import Tensor, nn

from ganzoo.components.spec import DatasetInfo, ImageSpec

HALF = 8
"""Pixels in half a period of the square wave."""
INFO = DatasetInfo(ImageSpec(3, 32, 32))


def square_wave(channels: int) -> Tensor:
    """(1, channels, 32, 32): 8 columns of 1, 8 of −1, and so on."""
    line = torch.ones(32)
    line.view(-1, HALF)[1::2] = -1
    return line.expand(1, channels, 32, 32)


def ripple(images: Tensor) -> float:
    """Deviation within the flat parts of the wave of twice the size, away from all edges, as a share of its own."""
    flat = images[..., 8:-8, :].unflatten(3, (-1, 2 * HALF))[..., 4:-4]
    return ((flat - flat.mean((2, 4), keepdim=True)).std() / images.std()).item()


@pytest.mark.parametrize("kernel_size", [3, 4, 5])
def test_a_square_wave_stays_flat_where_pixels_are_repeated_first(kernel_size: int) -> None:
    torch.manual_seed(0)
    ripples = {}
    for upsampling in ("transposed", "nearest"):
        block = UpBlock(16, 64, kernel_size=kernel_size, norm=None, activation=None, upsampling=upsampling)
        init_weights(block)
        with torch.no_grad():
            images = block(square_wave(16))
        assert images.shape == (1, 64, 64, 64)
        ripples[upsampling] = ripple(images)
    assert ripples["nearest"] < 1e-6
    assert ripples["transposed"] > 0.3


def checkerboard(images: Tensor) -> float:
    """Share of the variance that alternates from pixel to pixel, in rows, in columns or in both."""
    spectrum = torch.fft.fft2(images - images.mean((2, 3), keepdim=True)).abs().square().mean((0, 1))
    half = images.shape[-1] // 2
    highest = spectrum[half, :].sum() + spectrum[:, half].sum() - spectrum[half, half]
    return (highest / spectrum.sum()).item()


@pytest.mark.parametrize(
    ("generator", "config"), [(DCGANGenerator, DCGANGeneratorConfig), (DenseGenerator, DenseGeneratorConfig)]
)
def test_a_generator_of_random_weights_makes_fewer_checkerboards(generator: type, config: type) -> None:
    shares = {}
    for upsampling in ("transposed", "nearest"):
        torch.manual_seed(0)
        network = generator(config(width=16, upsampling=upsampling), info=INFO)
        with torch.no_grad():
            images = network(torch.randn(64, 100))
        assert images.shape == (64, 3, 32, 32)
        shares[upsampling] = checkerboard(images)
    assert shares["transposed"] > 0.2
    assert shares["nearest"] < 0.005


@pytest.mark.parametrize(("kernel_size", "used"), [(3, 3), (4, 3), (5, 5)])
def test_the_convolution_after_repeated_pixels_is_of_odd_size_and_may_be_wrapped(kernel_size: int, used: int) -> None:
    wrapped: list[nn.Module] = []

    def wrap(layer: nn.Module) -> nn.Module:
        wrapped.append(layer)
        return layer

    upsampling: Upsampling = "nearest"
    block = UpBlock(2, 3, kernel_size=kernel_size, upsampling=upsampling, wrap=wrap)
    assert [type(layer) for layer in block] == [nn.UpsamplingNearest2d, nn.Conv2d, nn.BatchNorm2d, nn.ReLU]
    assert wrapped == [block[1]]
    assert block[1].kernel_size == (used, used)
    assert block(torch.randn(1, 2, 5, 7)).shape == (1, 3, 10, 14)
