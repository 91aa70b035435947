"""`dcgan_dense` against a plain transcription of the form with a dense projection and biases everywhere."""

from __future__ import annotations

import pytest
import torch
from literal import dense
from literal.comparison import (
    assert_close,
    assert_drawn,
    build,
    copy_statistics,
    copy_weights,
    count,
    info,
    outline,
    shapes,
    with_random_norms,
)
from torch import nn


@pytest.mark.parametrize(("size", "width"), [(16, 16), (48, 16), (64, 32)])
def test_both_networks_compute_the_same(size: int, width: int) -> None:
    torch.manual_seed(0)
    options = {"width": width}
    generator, discriminator = build("dcgan_dense", info(3, size), options, options)
    gen = with_random_norms(dense.generator(size=size, f=width))
    disc = with_random_norms(dense.discriminator(size=size, f=width))
    for literal, network in ((gen, generator), (disc, discriminator)):
        copy_weights(literal.parameters(), network)
        copy_statistics(literal, network)
    latents, images = torch.randn(4, 100), torch.rand(4, 3, size, size) * 2 - 1
    for training in (True, False):
        for network in (gen, disc, generator, discriminator):
            network.train(training)
        with torch.no_grad():
            assert_close(generator(latents), gen(latents))
            assert_close(discriminator(images).sigmoid(), disc(images).flatten())


def test_figures() -> None:
    generator, discriminator = outline("dcgan_dense", info(3, 64), {}, {})
    assert (count(generator), count(discriminator)) == (18_872_323, 17_234_689)
    assert shapes(generator, torch.empty(2, 100, device="meta")) == [
        (1024, 4, 4),
        (512, 8, 8),
        (256, 16, 16),
        (128, 32, 32),
        (3, 64, 64),
    ]
    images = torch.empty(2, 3, 64, 64, device="meta")
    maps = [(128, 32, 32), (256, 16, 16), (512, 8, 8), (1024, 4, 4)]
    assert shapes(discriminator, images) == maps == [tuple(m.shape[1:]) for m in discriminator.features(images)]


def test_initial_weights() -> None:
    torch.manual_seed(2)
    for network in build("dcgan_dense", info(3, 64), {}, {}):
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                assert_drawn(layer.weight, 0.0, 0.02)
                assert not layer.bias.any()
            elif isinstance(layer, nn.BatchNorm2d):
                assert_drawn(layer.weight, 1.0, 0.02)
                assert (layer.eps, layer.momentum) == (1e-5, 0.1)
