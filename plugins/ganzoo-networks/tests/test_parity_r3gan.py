"""R3GAN's networks against the paper's description, written out with plain sums and the same weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

LABELS = torch.tensor([0, 3, 3, 9])
TAPS = (1 / 8, 3 / 8, 3 / 8, 1 / 8)
Weights = Mapping[str, Tensor]


def pointwise(x: Tensor, weight: Tensor) -> Tensor:
    return torch.einsum("nchw,oc->nohw", x, weight[:, :, 0, 0])


def biased_leaky_relu(x: Tensor, bias: Tensor) -> Tensor:
    x = x + bias[:, None, None]
    return torch.where(x > 0, x, 0.2 * x)


def grouped(x: Tensor, weight: Tensor, groups: int) -> Tensor:
    """A 3×3 convolution, group by group and tap by tap, with zeros around the image."""
    count, channels, height, width = x.shape
    x = F.pad(x, (1, 1, 1, 1)).reshape(count, groups, channels // groups, height + 2, width + 2)
    weight = weight.reshape(groups, -1, channels // groups, 3, 3)
    taps = [
        torch.einsum("ngchw,goc->ngohw", x[..., i : i + height, j : j + width], weight[..., i, j])
        for i in range(3)
        for j in range(3)
    ]
    return sum(taps).reshape(count, -1, height, width)


def residual(x: Tensor, w: Weights, at: str, groups: int) -> Tensor:
    y = biased_leaky_relu(pointwise(x, w[f"{at}.expand.weight"]), w[f"{at}.expand.bias"])
    y = biased_leaky_relu(grouped(y, w[f"{at}.grouped.weight"], groups), w[f"{at}.grouped.bias"])
    return x + pointwise(y, w[f"{at}.reduce.weight"])


def double(x: Tensor) -> Tensor:
    """Zeros between the pixels, then the filter, four times as strong."""
    count, channels, height, width = x.shape
    spread = x.new_zeros(count, channels, 2 * height + 3, 2 * width + 3)
    spread[:, :, 2:-1:2, 2:-1:2] = x
    rows = sum(2 * tap * spread[:, :, i : i + 2 * height] for i, tap in enumerate(TAPS))
    return sum(2 * tap * rows[..., j : j + 2 * width] for j, tap in enumerate(TAPS))


def halve(x: Tensor) -> Tensor:
    height, width = x.shape[2:]
    x = F.pad(x, (1, 1, 1, 1))
    rows = sum(tap * x[:, :, i : i + height : 2] for i, tap in enumerate(TAPS))
    return sum(tap * rows[..., j : j + width : 2] for j, tap in enumerate(TAPS))


def generate(w: Weights, latents: Tensor, widths: list[int], one_hot: Tensor | None) -> Tensor:
    if one_hot is not None:
        latents = torch.cat([latents, one_hot @ w["classes.weight"]], 1)
    x = (latents @ w["basis.weigh.weight"].T)[:, :, None, None] * w["basis.basis"]
    for stage, channels in enumerate(widths):
        inner = f"stages.{stage}"
        if stage:
            if channels != widths[stage - 1]:
                x = pointwise(x, w[f"stages.{stage}.0.weight"])
            x = double(x)
            inner = f"stages.{stage}.{1 if channels == widths[stage - 1] else 2}"
        for block in range(2):
            x = residual(x, w, f"{inner}.{block}", channels * 2 // 16)
    return pointwise(x, w["image.weight"])


def judge(w: Weights, images: Tensor, widths: list[int], one_hot: Tensor | None) -> Tensor:
    x = pointwise(images, w["image.weight"])
    for stage, channels in enumerate(widths):
        last = stage == len(widths) - 1
        for block in range(2):
            x = residual(x, w, f"stages.{stage}.{block}" if last else f"stages.{stage}.0.{block}", channels * 2 // 16)
        if not last:
            x = halve(x)
            if channels != widths[stage + 1]:
                x = pointwise(x, w[f"stages.{stage}.2.weight"])
    summary = (x * w["basis.weight"][:, 0]).sum((2, 3)) @ w["logit.weight"].T
    return summary[:, 0] if one_hot is None else (summary * (one_hot @ w["classes.weight"])).sum(1)


def shaken(network: nn.Module) -> Weights:
    """Draw all weights anew, so that what starts at 0 counts too."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0, 0.2)
    return dict(network.named_parameters())


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize(("size", "widths"), [(32, [32, 32, 24, 16]), (28, [24, 16, 16]), (4, [8])])
def test_networks_are_the_papers(make: Any, size: int, widths: list[int], conditional: bool) -> None:
    one_hot = torch.eye(10)[LABELS] if conditional else None
    options = {"size": size, "widths": tuple(widths), "conditional": conditional}
    generator, discriminator = make("generators", "r3gan", **options), make("discriminators", "r3gan", **options)
    latents = torch.randn(4, 64)
    images = generator(latents, **generator.inputs(LABELS))
    assert images.shape == (4, 3, size, size)
    expected = generate(shaken(generator), latents, widths, one_hot)
    scale = expected.abs().max()
    torch.testing.assert_close(
        generator(latents, **generator.inputs(LABELS)) / scale, expected / scale, atol=1e-5, rtol=0
    )
    images = torch.rand(4, 3, size, size) * 2 - 1
    expected = judge(shaken(discriminator), images, widths[::-1], one_hot)
    scale = expected.abs().max()
    logits = discriminator(images, **discriminator.inputs(LABELS))
    torch.testing.assert_close(logits / scale, expected / scale, atol=1e-5, rtol=0)


def block(channels: int) -> int:
    """1×1 to twice the channels, 3×3 in groups of 16, 1×1 back, and the biases of two activations."""
    return channels * 2 * channels + 2 * channels * 16 * 9 + 2 * channels * channels + 2 * 2 * channels


@pytest.mark.parametrize(
    ("size", "widths", "million"),
    [(32, [768] * 4, 20.7), (64, [768] * 4 + [384], 22.4), (256, [768] * 4 + [384, 192, 96], 23.1)],
    ids=["CIFAR-10", "FFHQ-64", "FFHQ-256"],
)
def test_presets_have_the_papers_parameters(make: Any, size: int, widths: list[int], million: float) -> None:
    """The paper says 23 M for each network at 256 pixels."""
    with torch.device("meta"):
        networks = [make(kind, "r3gan", size=size) for kind in ("generators", "discriminators")]
    generator, discriminator = (sum(each.numel() for each in network.parameters()) for network in networks)
    changes = sum(a * b for a, b in pairwise(widths) if a != b)
    body = 2 * sum(map(block, widths)) + changes + 3 * widths[-1]
    assert generator == body + 768 * 4 * 4 + 64 * 768
    assert discriminator == body + 768 * 4 * 4 + 768
    assert round(generator / 1e6, 1) == million
    assert round(discriminator / 1e6, 1) == pytest.approx(million, abs=0.11)
    assert [layer.groups for layer in networks[0].modules() if isinstance(layer, nn.Conv2d) and layer.groups > 1] == [
        channels // 8 for channels in widths for _ in range(2)
    ]


def test_weights_start_as_the_paper_says(make: Any) -> None:
    generator = make("generators", "r3gan", size=32, width=128)
    blocks = [module for module in generator.modules() if type(module).__name__ == "ResidualBlock"]
    assert len(blocks) == 8
    for each in blocks:
        assert not each.reduce.weight.any()
        for layer, fan_in in ((each.expand, 128), (each.grouped, 16 * 9)):
            assert not layer.bias.any()
            expected = math.sqrt(2 / 1.04) * 8**-0.25 / math.sqrt(fan_in)
            assert layer.weight.std().item() == pytest.approx(expected, rel=0.03)
    assert generator.basis.basis.std().item() == pytest.approx(1, rel=0.1)
    conditional = make("discriminators", "r3gan", size=32, width=128, conditional=True)
    assert conditional.classes.weight.std().item() == pytest.approx(1 / math.sqrt(10 * 128), rel=0.1)


def test_a_channel_that_is_flat_stays_flat_but_at_the_edge(make: Any) -> None:
    from ganzoo_networks.resample import Downsample, Upsample

    flat = torch.full((1, 2, 8, 8), 3.0)
    torch.testing.assert_close(Upsample()(flat)[..., 1:-1, 1:-1], torch.full((1, 2, 14, 14), 3.0))
    torch.testing.assert_close(Downsample()(flat)[..., 1:-1, 1:-1], torch.full((1, 2, 2, 2), 3.0))


@pytest.mark.parametrize(
    ("size", "options", "message"),
    [
        (36, {}, "doubles a small image 3 times, which cannot give 36×36 pixels: set dataset.image_size to multiples"),
        (32, {"widths": (8,) * 7}, "doubles a small image 6 times, which cannot give 32×32"),
        (32, {"width": 12}, "has 24 channels in its 3×3 convolutions, which is no multiple of group_width = 16"),
    ],
)
def test_what_cannot_be_made_is_told(make: Any, size: int, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make("generators", "r3gan", size=size, **options)


def test_samples_are_clipped_and_training_is_not(make: Any) -> None:
    from ganzoo.sampling.generate import generate as sample

    generator = make("generators", "r3gan", size=16, width=16)
    shaken(generator)
    latents = torch.randn(4, 64)
    with torch.no_grad():
        images = generator(latents)
    assert images.abs().max() > 1
    torch.testing.assert_close(sample(generator, latents), images.clamp(-1, 1))
