"""The blocks as plain modules: sizes, options, wrapping."""

from __future__ import annotations

import pytest
import torch
from ganzoo_dcgan.blocks import DownBlock, Projection, UpBlock, init_weights, leaky_relu
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm


@pytest.mark.parametrize("kernel_size", [2, 3, 4, 5, 6, 7])
@pytest.mark.parametrize("size", [1, 4, 7, 16])
def test_up_block_doubles_exactly(kernel_size: int, size: int):
    block = UpBlock(2, 3, kernel_size=kernel_size)
    assert block(torch.randn(2, 2, size, size)).shape == (2, 3, 2 * size, 2 * size)


@pytest.mark.parametrize("kernel_size", [2, 3, 4, 5, 6, 7])
@pytest.mark.parametrize("size", [8, 14, 16])
def test_down_block_halves_exactly(kernel_size: int, size: int):
    block = DownBlock(2, 3, kernel_size=kernel_size)
    assert block(torch.randn(2, 2, size, size)).shape == (2, 3, size // 2, size // 2)


@pytest.mark.parametrize("kernel_size", [3, 5, 7])
def test_stride_1_keeps_the_size(kernel_size: int):
    for block in (UpBlock, DownBlock):
        layer = block(2, 3, kernel_size=kernel_size, stride=1)
        assert layer(torch.randn(2, 2, 9, 9)).shape == (2, 3, 9, 9)


def test_first_and_last_layers_of_the_4_by_4_variant():
    assert UpBlock(8, 3, stride=1, padding=0)(torch.randn(2, 8, 1, 1)).shape == (2, 3, 4, 4)
    assert DownBlock(8, 1, padding=0, norm=None)(torch.randn(2, 8, 4, 4)).shape == (2, 1, 1, 1)


def test_defaults_are_those_of_the_paper():
    up, down = UpBlock(2, 3), DownBlock(2, 3)
    assert [type(layer) for layer in up] == [nn.ConvTranspose2d, nn.BatchNorm2d, nn.ReLU]
    assert [type(layer) for layer in down] == [nn.Conv2d, nn.BatchNorm2d, nn.LeakyReLU]
    assert down[2].negative_slope == 0.2
    assert up[0].bias is None
    assert down[0].bias is None
    assert (up[0].kernel_size, up[0].stride, up[0].padding) == ((4, 4), (2, 2), (1, 1))


@pytest.mark.parametrize("block", [UpBlock, DownBlock])
def test_every_layer_is_a_choice(block: type[nn.Sequential]):
    bare = block(2, 3, bias=True, norm=None, activation=None)
    assert len(bare) == 1
    assert bare[0].bias is not None
    full = block(2, 3, norm=nn.InstanceNorm2d, activation=leaky_relu(0.4))
    assert type(full[1]) is nn.InstanceNorm2d
    assert full[2].negative_slope == 0.4


@pytest.mark.parametrize("make", [lambda w: UpBlock(4, 6, wrap=w), lambda w: DownBlock(4, 6, wrap=w)])
def test_spectral_norm_wraps_the_convolution(make):
    block = make(lambda layer: spectral_norm(layer, n_power_iterations=50))
    block.train()(torch.randn(2, 4, 8, 8))
    weight = block[0].weight
    out_first = weight.transpose(0, 1) if isinstance(block[0], nn.ConvTranspose2d) else weight
    assert torch.linalg.matrix_norm(out_first.flatten(1), 2).item() == pytest.approx(1, rel=1e-3)


def test_projection():
    projection = Projection(10, 6, 4)
    assert projection(torch.randn(3, 10)).shape == (3, 6, 4, 4)
    dense, after = projection.dense, projection.after
    assert (dense.in_features, dense.out_features) == (10, 96)
    assert dense.bias is not None
    assert [type(layer) for layer in after] == [nn.BatchNorm2d]
    assert after[0].num_features == 6
    wrapped = Projection(10, 6, 4, norm=None, wrap=spectral_norm)
    assert wrapped(torch.randn(3, 10)).shape == (3, 6, 4, 4)


def test_projection_fills_channel_after_channel():
    projection = Projection(1, 2, 2, bias=False, norm=None)
    with torch.no_grad():
        projection.dense.weight.copy_(torch.arange(8.0)[:, None])
    image = projection(torch.ones(1, 1))[0]
    assert image.tolist() == [[[0, 1], [2, 3]], [[4, 5], [6, 7]]]


def test_init_leaves_nothing_out():
    torch.manual_seed(0)
    network = nn.Sequential(
        UpBlock(64, 64, bias=True, norm=lambda c: nn.GroupNorm(1, c)),
        DownBlock(64, 64, norm=lambda c: nn.InstanceNorm2d(c, affine=True)),
        Projection(64, 64, 2),
        DownBlock(64, 64, norm=lambda c: nn.BatchNorm2d(c, affine=False)),
    )
    for parameter in network.parameters():
        nn.init.constant_(parameter, 7.0)
    init_weights(network, weight_std=0.5, norm_mean=2.0, norm_std=0.1)
    assert not any((parameter == 7).any() for parameter in network.parameters())
    assert network[0][0].weight.std().item() == pytest.approx(0.5, rel=0.02)
    assert network[0][1].weight.mean().item() == pytest.approx(2.0, rel=0.05)
    assert network[1][1].weight.mean().item() == pytest.approx(2.0, rel=0.05)
    assert (network[2].dense.bias == 0).all()


def test_init_reaches_weights_behind_spectral_norm():
    torch.manual_seed(0)
    block = DownBlock(32, 32, wrap=spectral_norm)
    before = block[0].parametrizations.weight.original.clone()
    init_weights(block, weight_std=0.3)
    original = block[0].parametrizations.weight.original
    assert not torch.equal(original, before)
    assert original.std().item() == pytest.approx(0.3, rel=0.05)
