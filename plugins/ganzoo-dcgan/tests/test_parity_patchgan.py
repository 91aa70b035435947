"""`patchgan` against a plain transcription of pix2pix's discriminator."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from literal import patchgan
from literal.comparison import assert_close, assert_drawn, copy_statistics, copy_weights, count, with_random_norms
from torch import nn

from ganzoo.components.spec import DatasetInfo, ImageSpec, VectorSpec
from ganzoo.registry.plugin_manager import plugin_manager


def build(info: DatasetInfo, **options: Any) -> Any:
    entry = plugin_manager().registries.discriminators["patchgan"]
    config = entry.config(name="patchgan", **options)
    config.check_info(info)
    return entry.load()(config, info=info)


def pairs(size: int) -> DatasetInfo:
    """RGB images with a gray one each as a condition."""
    return DatasetInfo(ImageSpec(3, size, size), condition=ImageSpec(1, size, size))


@pytest.mark.parametrize("norm", ["batch", "instance"])
@pytest.mark.parametrize("conditional", [False, True])
def test_computes_the_same(norm: str, conditional: bool) -> None:
    torch.manual_seed(0)
    network = build(pairs(64), width=16, norm=norm, conditional=conditional)
    literal = with_random_norms(patchgan.discriminator(4 if conditional else 3, 16, instance=norm == "instance"))
    copy_weights(literal.parameters(), network)
    copy_statistics(literal, network)
    images, outlines = torch.rand(2, 3, 64, 64) * 2 - 1, torch.rand(2, 1, 64, 64) * 2 - 1
    for training in (True, False):
        network.train(training)
        literal.train(training)
        with torch.no_grad():
            logits = network(images, **network.inputs(condition=outlines))
            assert logits.shape == (2, 1, 6, 6)
            assert_close(logits, literal(torch.cat([outlines, images], 1) if conditional else images))
    assert network.uses == ({"condition"} if conditional else set())


def test_figures() -> None:
    """2,765,633 parameters for three channels, 2,768,705 for six; 30×30 logits at 256 pixels, each of 70×70 pixels."""
    info = DatasetInfo(ImageSpec(3, 256, 256))
    network = build(info)
    assert count(network) == 2_765_633
    assert count(build(DatasetInfo(ImageSpec(6, 256, 256)))) == 2_768_705
    image = torch.rand(1, 3, 256, 256, requires_grad=True)
    logits = network.eval()(image)
    assert logits.shape == (1, 1, 30, 30)
    logits[0, 0, 15, 15].backward()
    assert image.grad is not None
    rows = image.grad[0].abs().sum((0, 2)).nonzero()
    assert len(rows) == rows.max() - rows.min() + 1 == 70
    assert [tuple(each.shape[1:]) for each in network.features(image)] == [
        (64, 128, 128),
        (128, 64, 64),
        (256, 32, 32),
        (512, 31, 31),
    ]


def test_depth_sets_the_patch() -> None:
    for depth, patch in ((1, 16), (2, 34), (4, 142)):
        size = 512
        network = build(DatasetInfo(ImageSpec(1, size, size)), depth=depth, width=2).eval()
        image = torch.rand(1, 1, size, size, requires_grad=True)
        logits = network(image)
        middle = logits.shape[-1] // 2
        logits[0, 0, middle, middle].backward()
        assert image.grad is not None
        assert len(image.grad[0, 0].abs().sum(1).nonzero()) == patch


def test_initial_weights() -> None:
    torch.manual_seed(2)
    for layer in build(DatasetInfo(ImageSpec(3, 256, 256))).modules():
        if isinstance(layer, nn.Conv2d):
            assert_drawn(layer.weight, 0.0, 0.02)
        elif isinstance(layer, nn.BatchNorm2d):
            assert_drawn(layer.weight, 1.0, 0.02)


def test_refuses_what_it_cannot_judge() -> None:
    with pytest.raises(ValueError, match="of depth 3 needs images of 24 pixels or more, and these are 16×16"):
        build(DatasetInfo(ImageSpec(3, 16, 16)))
    assert build(DatasetInfo(ImageSpec(3, 24, 32)), width=2)(torch.zeros(2, 3, 24, 32)).shape == (2, 1, 1, 2)
    other = DatasetInfo(ImageSpec(3, 64, 64), condition=VectorSpec(5))
    with pytest.raises(ValueError, match="needs a condition of 64×64 pixels, and it is 5 numbers"):
        build(other, conditional=True)


def test_an_unknown_condition_is_gray() -> None:
    network = build(pairs(32), width=2, conditional=True).eval()
    images = torch.rand(2, 3, 32, 32)
    gray = network.features(images, condition=torch.zeros(2, 1, 32, 32))
    for ours, theirs in zip(network.features(images), gray, strict=True):
        assert torch.equal(ours, theirs)
