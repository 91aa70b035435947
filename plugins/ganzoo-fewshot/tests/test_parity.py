"""The networks, the loss and the decoders against plain transcriptions: same weights, same outputs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from ganzoo_fewshot.reconstruction import quarters
from ganzoo_fewshot.uniform_hinge import UniformHinge
from literal_fewshot import fastgan, projected
from literal_fewshot.copying import copy_layers, exact_spectral_norms

CLOSE = {"atol": 1e-5, "rtol": 1e-5}


@pytest.fixture(autouse=True)
def _double() -> Iterator[None]:
    """In double precision, so that only the arithmetic differs and not its rounding in deep networks."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("size", [256, 512, pytest.param(1024, marks=pytest.mark.slow)])
def test_generator(make: Any, size: int) -> None:
    ours = make("generators", "fastgan", size=size, width=8, latent_dim=16, small_output=True)
    exact_spectral_norms(ours)
    theirs = fastgan.Generator(8, 16, 3, size)
    copy_layers(ours, theirs)
    latents = torch.randn(2, 16)
    torch.manual_seed(3)
    images, small = ours(latents, small=True)
    torch.manual_seed(3)
    expected, expected_small = theirs(latents)
    assert images.shape == (2, 3, size, size)
    assert small.shape == (2, 3, 128, 128)
    torch.testing.assert_close(images, expected, **CLOSE)
    torch.testing.assert_close(small, expected_small, **CLOSE)
    torch.manual_seed(3)
    assert ours(latents).allclose(images, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("size", [256, 512, 1024])
def test_discriminator(make: Any, size: int) -> None:
    ours = make("discriminators", "fastgan", size=size, width=8)
    exact_spectral_norms(ours)
    theirs = fastgan.Discriminator(8, 3, size)
    copy_layers(ours, theirs)
    images, small = torch.rand(2, 3, size, size) * 2 - 1, torch.rand(2, 3, 128, 128) * 2 - 1
    logits = ours(images)
    assert logits.shape == (2, 50)
    expected, last, sixteen, last_small = theirs(images)
    torch.testing.assert_close(logits, expected, **CLOSE)
    torch.testing.assert_close(ours(images, small=small), theirs([images, small])[0], **CLOSE)
    maps = ours.features(images)
    torch.testing.assert_close(maps[-1], last, **CLOSE)
    torch.testing.assert_close(maps[-2], sixteen, **CLOSE)
    torch.testing.assert_close(maps[3], last_small, **CLOSE)


@pytest.mark.slow
def test_decoders_and_quarters(make: Any) -> None:
    discriminator = make("discriminators", "fastgan", size=256, width=8)
    penalty = make("penalties", "reconstruction", size=256)
    penalty.setup(None, discriminator)
    # the small track's last map, the image's, and a quarter of its 16×16
    assert (list(penalty.whole), list(penalty.quarter)) == (["3", "9"], ["8"])
    for decoder, channels in ((penalty.whole["3"], 32), (penalty.whole["9"], 64), (penalty.quarter["8"], 32)):
        exact_spectral_norms(decoder)
        theirs = fastgan.SimpleDecoder(channels, 3)
        copy_layers(decoder, theirs)
        maps = torch.randn(2, channels, 8, 8)
        torch.testing.assert_close(decoder(maps), theirs(maps), **CLOSE)
        assert decoder(maps).shape == (2, 3, 128, 128)
    images = torch.rand(4, 3, 16, 16)
    expected = torch.cat([fastgan.crop_image_by_part(image[None], part) for part, image in enumerate(images)])
    assert quarters(images, torch.arange(4)).equal(expected)


def test_hinge_is_the_mean_over_the_targets(make: Any) -> None:
    loss: UniformHinge = make("losses", "uniform_hinge")
    real, fake = torch.linspace(-2, 2, 41).requires_grad_(), torch.linspace(-2, 2, 41).requires_grad_()
    loss.discriminator_loss(real, fake).backward()
    # the authors' hinge at the middle of 20,000 equal parts of [0.8, 1], which is exact for its straight pieces
    targets = 0.8 + 0.2 * (torch.arange(20_000, dtype=torch.float64)[:, None] + 0.5) / 20_000
    expected = (targets - real.double()).relu().mean() + (targets + fake.double()).relu().mean()
    torch.testing.assert_close(loss.discriminator_loss(real, fake).double(), expected, **CLOSE)
    gradients = torch.autograd.grad(expected, [real, fake])
    torch.testing.assert_close([real.grad, fake.grad], list(gradients), **CLOSE)
    drawn = torch.stack([fastgan.train_d_loss(real.detach(), "real") for _ in range(2000)]).mean()
    drawn += torch.stack([fastgan.train_d_loss(fake.detach(), "fake") for _ in range(2000)]).mean()
    assert loss.discriminator_loss(real, fake).item() == pytest.approx(float(drawn), abs=1e-3)
    assert loss.generator_loss(None, fake).item() == pytest.approx(-fake.mean().item())


@pytest.mark.slow
@pytest.mark.parametrize("input_size", [128, 224, 288])
def test_projected_discriminator(make: Any, input_size: int) -> None:
    ours = make("discriminators", "projected", model="shufflenet_v2_x0_5", weights="random", input_size=input_size)
    exact_spectral_norms(ours)
    images = torch.rand(2, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        found = ours.backbone(images)
    assert [each.shape[-1] for each in found] == [input_size // stride for stride in (4, 8, 16, 32)]
    projector = projected.Projector([each.shape[1] for each in found], 64)
    for index in range(4):
        getattr(projector, f"layer{index}_ccm").load_state_dict(ours.across_channels[index].state_dict())
        getattr(projector, f"layer{index}_csm").out_conv.load_state_dict(ours.across_scales[index].state_dict())
    mixed = projector(*found)
    torch.testing.assert_close(ours.features(images), mixed, **CLOSE)
    reach = min(input_size, 256)  # the authors' 256 always, which smaller images are too small for
    heads = projected.MultiScaleD([64, 64, 128, 256], [2 * reach // stride for stride in (4, 8, 16, 32)])
    copy_layers(ours.heads, heads)
    torch.testing.assert_close(ours(images), heads(mixed), **CLOSE)
