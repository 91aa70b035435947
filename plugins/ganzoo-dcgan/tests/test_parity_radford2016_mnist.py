"""`dcgan_authors_mnist` against a plain transcription of the authors' conditional network."""

from __future__ import annotations

import torch
from literal import authors
from literal.comparison import DIGITS, assert_close, assert_drawn, build, copy_weights, count, info, shapes
from torch import nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

MNIST = info(1, 28, DIGITS)
LABELS = torch.tensor([3, 1, 4, 1, 5, 9, 2, 6])


def test_both_networks_compute_the_same_in_training_and_in_evaluation() -> None:
    torch.manual_seed(0)
    generator, discriminator = build("dcgan_authors_mnist", MNIST, {}, {})
    gw, dw = authors.mnist_gen_weights(), authors.mnist_discrim_weights()
    copy_weights(gw, generator)
    copy_weights(dw, discriminator)
    latents, images = torch.rand(8, 100) * 2 - 1, torch.rand(8, 1, 28, 28)
    classes = F.one_hot(LABELS, 10).float()
    with torch.no_grad():
        made, judged = authors.mnist_gen(latents, classes, gw), authors.mnist_discrim(images, classes, dw)
        for training in (True, False):
            generator.train(training)
            discriminator.train(training)
            assert_close((generator(latents, labels=LABELS) + 1) / 2, made)
            assert_close(discriminator(images * 2 - 1, labels=LABELS).sigmoid(), judged.flatten())


def test_figures() -> None:
    generator, discriminator = build("dcgan_authors_mnist", MNIST, {}, {})
    assert count(generator) == 6_820_538 == sum(weight.numel() for weight in authors.mnist_gen_weights())
    assert count(discriminator) == 6_688_202 == sum(weight.numel() for weight in authors.mnist_discrim_weights())
    assert shapes(generator, torch.randn(8, 100), labels=LABELS) == [(1024,), (128, 7, 7), (64, 14, 14), (1, 28, 28)]
    images = torch.randn(8, 1, 28, 28)
    maps = [(64, 14, 14), (128, 7, 7)]
    assert (
        shapes(discriminator, images, labels=LABELS)
        == maps
        == [tuple(m.shape[1:]) for m in discriminator.features(images)]
    )


def test_initial_weights_and_norms() -> None:
    torch.manual_seed(1)
    for network in build("dcgan_authors_mnist", MNIST, {}, {}):
        assert list(network.buffers()) == [], "no running statistics"
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                assert_drawn(layer.weight, 0.0, 0.02)
                assert layer.bias is None
            elif isinstance(layer, _BatchNorm):
                assert (layer.weight, layer.bias, layer.eps) == (None, None, 1e-8)
