"""`dcgan_authors` and `dcgan_authors_imagenet32` against plain transcriptions of the authors' Theano code."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from literal import authors
from literal.comparison import assert_close, assert_drawn, build, copy_weights, count, info, outline, shapes
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

SVHN = ({"width": 64, "latents": "normal"}, {"width": 64})

# A quarter of the authors' widths, which the tests of figures hold: name, size, width, weights, functions.
QUARTERS = {
    "faces": (
        "dcgan_authors",
        64,
        32,
        (
            authors.faces_gen_weights(widths=(256, 128, 64, 32)),
            authors.faces_discrim_weights(widths=(32, 64, 128, 256)),
        ),
        (authors.faces_gen, authors.faces_discrim),
    ),
    "svhn": (
        "dcgan_authors",
        32,
        16,
        (authors.faces_gen_weights(widths=(64, 32, 16)), authors.faces_discrim_weights(widths=(16, 32, 64))),
        (authors.faces_gen, authors.faces_discrim),
    ),
    "imagenet": (
        "dcgan_authors_imagenet32",
        32,
        32,
        (authors.imagenet_gen_weights(ngf=32), authors.imagenet_discrim_weights(ndf=32)),
        (authors.imagenet_gen, authors.imagenet_discrim),
    ),
}


@pytest.mark.parametrize("case", QUARTERS)
def test_both_networks_compute_the_same_in_training_and_in_evaluation(case: str) -> None:
    torch.manual_seed(0)
    name, size, width, weights, (gen, discrim) = QUARTERS[case]
    generator, discriminator = build(name, info(3, size), {"width": width}, {"width": width})
    gen_weights, discrim_weights = map(stirred, weights)
    copy_weights(gen_weights, generator)
    copy_weights(discrim_weights, discriminator)
    latents = torch.rand(4, generator.config.latent_dim) * 2 - 1
    images = torch.rand(4, 3, size, size) * 2 - 1
    with torch.no_grad():
        made, judged = gen(latents, gen_weights), discrim(images, discrim_weights).flatten()
        for training in (True, False):
            generator.train(training)
            discriminator.train(training)
            assert_close(generator(latents), made)
            assert_close(discriminator(images).sigmoid(), judged)


def test_figures_of_faces() -> None:
    generator, discriminator = outline("dcgan_authors", info(3, 64), {}, {})
    assert (count(generator), count(discriminator)) == (18_885_760, 17_232_768)
    assert shapes(generator, meta(2, 100)) == [
        (1024, 4, 4),
        (512, 8, 8),
        (256, 16, 16),
        (128, 32, 32),
        (3, 64, 64),
    ]
    images = meta(2, 3, 64, 64)
    maps = [(128, 32, 32), (256, 16, 16), (512, 8, 8), (1024, 4, 4)]
    assert shapes(discriminator, images) == maps == [tuple(m.shape[1:]) for m in discriminator.features(images)]


def test_figures_of_svhn() -> None:
    generator, discriminator = outline("dcgan_authors", info(3, 32), *SVHN)
    assert (count(generator), count(discriminator)) == (1_446_976, 1_033_664)
    assert shapes(generator, meta(2, 100)) == [(256, 4, 4), (128, 8, 8), (64, 16, 16), (3, 32, 32)]
    assert shapes(discriminator, meta(2, 3, 32, 32)) == [(64, 16, 16), (128, 8, 8), (256, 4, 4)]


def test_figures_of_imagenet() -> None:
    generator, discriminator = outline("dcgan_authors_imagenet32", info(3, 32), {}, {})
    assert (count(generator), count(discriminator)) == (6_690_688, 4_586_112)
    assert shapes(generator, meta(2, 256)) == [
        (512, 4, 4),
        (512, 8, 8),
        (256, 8, 8),
        (256, 16, 16),
        (128, 16, 16),
        (128, 32, 32),
        (3, 32, 32),
    ]
    images = meta(2, 3, 32, 32)
    maps = [(128, 32, 32), (128, 16, 16), (256, 16, 16), (256, 8, 8), (512, 8, 8), (512, 4, 4)]
    assert shapes(discriminator, images) == maps == [tuple(m.shape[1:]) for m in discriminator.features(images)]


@pytest.mark.parametrize(
    ("name", "size", "options"),
    [("dcgan_authors", 64, ({}, {})), ("dcgan_authors", 32, SVHN), ("dcgan_authors_imagenet32", 32, ({}, {}))],
    ids=["faces", "svhn", "imagenet"],
)
def test_initial_weights_and_norms(name: str, size: int, options: tuple[dict[str, Any], dict[str, Any]]) -> None:
    torch.manual_seed(1)
    for network in build(name, info(3, size), *options):
        assert list(network.buffers()) == [], "no running statistics"
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                assert_drawn(layer.weight, 0.0, 0.02)
                assert layer.bias is None
            elif isinstance(layer, _BatchNorm):
                assert_drawn(layer.weight, 1.0, 0.02)
                assert not layer.bias.any()
                assert layer.eps == 1e-8


def stirred(weights: list[Tensor]) -> list[Tensor]:
    """With biases that are not 0, so that a lost one shows."""
    return [0.1 * torch.randn_like(weight) if not weight.any() else weight for weight in weights]


def meta(*shape: int) -> Tensor:
    return torch.empty(shape, device="meta")
