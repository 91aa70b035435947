"""`dcgan` against a plain transcription of the 4×4 form that most tutorials build."""

from __future__ import annotations

import pytest
import torch
from literal import four_by_four
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

RGB = info(3, 64)


def test_both_networks_compute_the_same() -> None:
    torch.manual_seed(0)
    width = {"width": 16}
    generator, discriminator = build("dcgan", RGB, width, width)
    gen, disc = with_random_norms(four_by_four.generator(f=16)), with_random_norms(four_by_four.discriminator(f=16))
    for literal, network in ((gen, generator), (disc, discriminator)):
        copy_weights(literal.parameters(), network)
        copy_statistics(literal, network)
    latents, images = torch.randn(4, 100), torch.rand(4, 3, 64, 64) * 2 - 1
    for training in (True, False):
        for network in (gen, disc, generator, discriminator):
            network.train(training)
        with torch.no_grad():
            assert_close(generator(latents), gen(latents[:, :, None, None]))
            assert_close(discriminator(images).sigmoid(), disc(images).flatten())
    for literal, network in ((gen, generator), (disc, discriminator)):
        for ours, theirs in zip(network.buffers(), literal.buffers(), strict=True):
            torch.testing.assert_close(ours, theirs, msg="running statistics are gathered alike")


def test_figures() -> None:
    generator, discriminator = outline("dcgan", RGB, {}, {})
    assert (count(generator), count(discriminator)) == (12_658_435, 2_765_633)
    assert shapes(generator, torch.empty(2, 100, device="meta")) == [
        (1024, 4, 4),
        (512, 8, 8),
        (256, 16, 16),
        (128, 32, 32),
        (3, 64, 64),
    ]
    images = torch.empty(2, 3, 64, 64, device="meta")
    maps = [(64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4)]
    assert shapes(discriminator, images) == maps == [tuple(m.shape[1:]) for m in discriminator.features(images)]


@pytest.mark.parametrize("norm_mean", [0.0, 1.0], ids=["tutorials", "paper"])
def test_initial_weights(norm_mean: float) -> None:
    torch.manual_seed(2)
    init = {"norm_mean": norm_mean}
    for network in build("dcgan", RGB, {"init": init}, {"init": init}):
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                assert_drawn(layer.weight, 0.0, 0.02)
                assert layer.bias is None or not layer.bias.any()
            elif isinstance(layer, nn.BatchNorm2d):
                assert_drawn(layer.weight, norm_mean, 0.02)
                assert not layer.bias.any()
                assert (layer.eps, layer.momentum) == (1e-5, 0.1)


def test_biases_can_stay_as_torch_draws_them() -> None:
    """Tutorials set the weights alone."""
    torch.manual_seed(3)
    init = {"bias": "torch"}
    for network in build("dcgan", RGB, {"init": init}, {"init": init}):
        biased = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)]
        assert all(layer.bias.any() for layer in biased if layer.bias is not None)
        assert not any(layer.bias.any() for layer in network.modules() if isinstance(layer, nn.BatchNorm2d))
