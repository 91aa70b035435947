"""Spectral norm, attention, minibatch deviation, class norms and residual blocks, each against its definition."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from ganzoo_networks.attention import SelfAttention
from ganzoo_networks.class_norm import ClassBatchNorm2d
from ganzoo_networks.minibatch import MinibatchStdDev
from ganzoo_networks.residual import DownResidual, UpResidual
from ganzoo_networks.spectral import drawn_spectral
from torch import nn
from torch.nn import functional as F


@pytest.mark.parametrize(
    "layer", [nn.Conv2d(6, 5, 4, bias=False), nn.ConvTranspose2d(6, 5, 4), nn.Linear(7, 3)], ids=["conv", "up", "dense"]
)
def test_spectral_norm_brings_the_largest_singular_value_to_1(layer: Any) -> None:
    normed = drawn_spectral(std=0.5)(layer).train()
    inputs = torch.randn(2, 7) if isinstance(layer, nn.Linear) else torch.randn(2, 6, 5, 5)
    with torch.no_grad():
        for _ in range(60):
            normed(inputs)
    normed.eval()
    weight = normed.weight.detach()
    matrix = weight.transpose(0, 1).flatten(1) if isinstance(layer, nn.ConvTranspose2d) else weight.flatten(1)
    assert torch.linalg.svdvals(matrix)[0].item() == pytest.approx(1, abs=1e-3)
    original = normed.parametrizations.weight.original
    assert original.std().item() == pytest.approx(0.5, rel=0.4)


def test_attention_starts_as_the_identity() -> None:
    images = torch.randn(2, 8, 4, 4)
    assert SelfAttention(8)(images).equal(images)


@pytest.mark.slow
def test_attention_is_what_the_paper_writes() -> None:
    attention = SelfAttention(16).double()
    with torch.no_grad():
        attention.gamma.fill_(0.7)
    images = torch.randn(2, 16, 3, 5, dtype=torch.float64)
    f, g, h, v = (
        layer.weight.flatten(1) for layer in (attention.keys, attention.queries, attention.values, attention.output)
    )
    assert f.shape == g.shape == h.shape == (2, 16)
    expected = torch.empty_like(images)
    for n, image in enumerate(images):
        x = image.flatten(1)
        for j in range(15):
            scores = torch.stack([(f @ x[:, i]) @ (g @ x[:, j]) for i in range(15)])
            beta = torch.exp(scores) / torch.exp(scores).sum()
            o = v @ sum(beta[i] * (h @ x[:, i]) for i in range(15))
            expected[n, :, j // 5, j % 5] = 0.7 * o + x[:, j]
    # The softmax is taken in fp32, whatever the precision around it.
    torch.testing.assert_close(attention(images), expected, atol=1e-6, rtol=1e-6)
    assert attention.attention(images).sum(2).allclose(torch.ones(2, 15, dtype=torch.float64))


def test_minibatch_deviation_of_groups() -> None:
    images = torch.randn(8, 3, 2, 2)
    result = MinibatchStdDev(4)(images)
    assert result.shape == (8, 4, 2, 2)
    assert result[:, :3].equal(images)
    for first in (0, 1):
        group = images[first::2]
        value = ((group - group.mean(0)).square().mean(0) + 1e-8).sqrt().mean()
        torch.testing.assert_close(result[first::2, 3], value.expand(4, 2, 2))


def test_minibatch_deviation_of_a_collapsed_batch_is_0_with_a_gradient() -> None:
    images = torch.ones(6, 3, 2, 2, requires_grad=True)
    result = MinibatchStdDev(4)(images)  # 6 images make groups of 3
    assert result[:, 3].max().item() == pytest.approx(1e-4)
    result.sum().backward()
    assert images.grad is not None
    assert images.grad.isfinite().all()


def test_class_batch_norm_scales_by_class() -> None:
    norm = ClassBatchNorm2d(3, 4)
    images = torch.randn(6, 3, 4, 4) * 3 + 1
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    plain = F.batch_norm(images, None, None, training=True)
    torch.testing.assert_close(norm(images, labels), plain)
    with torch.no_grad():
        norm.gain.weight[1] = 2.0
        norm.bias.weight[1] = torch.tensor([5.0, 6.0, 7.0])
    changed = norm(images, labels)
    torch.testing.assert_close(changed[labels != 1], plain[labels != 1])
    torch.testing.assert_close(changed[1], 2 * plain[1] + torch.tensor([5.0, 6.0, 7.0])[:, None, None])


def test_up_residual_as_written_in_the_paper() -> None:
    block = UpResidual(3, 5).eval()
    images = torch.randn(2, 3, 4, 4)

    def double(x: torch.Tensor) -> torch.Tensor:
        return x.repeat_interleave(2, 2).repeat_interleave(2, 3)

    inner = block.convolution1(double(F.relu(block.norm1(images))))
    expected = block.convolution2(F.relu(block.norm2(inner))) + block.shortcut(double(images))
    torch.testing.assert_close(block(images), expected)
    assert expected.shape == (2, 5, 8, 8)


@pytest.mark.parametrize("block", [UpResidual(32, 64), DownResidual(32, 64), DownResidual(3, 64, first=True)])
def test_weights_start_from_glorots_uniform_distribution(block: Any) -> None:
    """Times √2 before a ReLU, and as they are beside (appendix B.4 of SNGAN, by its authors' code)."""
    for layer, gain in ((block.convolution1, 2**0.5), (block.convolution2, 2**0.5), (block.shortcut, 1.0)):
        receptive = layer.weight[0, 0].numel()
        bound = gain * (6 / (receptive * (layer.in_channels + layer.out_channels))) ** 0.5
        assert bound * 0.9 < layer.weight.abs().max() <= bound
        assert not layer.bias.any()


@pytest.mark.parametrize("first", [False, True])
def test_down_residual_as_written_in_the_paper(first: bool) -> None:
    block = DownResidual(3, 5, first=first)
    images = torch.randn(2, 3, 4, 4)
    kept = images.clone()
    inner = block.convolution2(F.relu(block.convolution1(images if first else F.relu(images))))
    expected = F.avg_pool2d(inner, 2) + F.avg_pool2d(block.shortcut(images), 2)
    torch.testing.assert_close(block(images), expected)
    assert images.equal(kept)


def test_a_block_that_changes_no_shape_has_nothing_beside() -> None:
    block = DownResidual(4, 4, halve=False)
    assert block.shortcut is None
    images = torch.randn(2, 4, 3, 3)
    assert (block(images) - images).allclose(block.convolution2(F.relu(block.convolution1(F.relu(images)))), atol=1e-6)
