"""The 4×4 variant and the dense one: shapes at every size, parameters counted by hand, how weights start."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from ganzoo_dcgan.configs import (
    DCGANDiscriminatorConfig,
    DCGANGeneratorConfig,
    DenseDiscriminatorConfig,
    DenseGeneratorConfig,
)
from ganzoo_dcgan.dcgan import DCGANDiscriminator, DCGANGenerator
from ganzoo_dcgan.dense import DenseDiscriminator, DenseGenerator
from torch import nn

from ganzoo.components.spec import DatasetInfo, ImageSpec


def info(size: int, channels: int = 3) -> DatasetInfo:
    return DatasetInfo(ImageSpec(channels, size, size))


def four_by_four(size: int, channels: int = 3, **options: Any) -> tuple[DCGANGenerator, DCGANDiscriminator]:
    return (
        DCGANGenerator(DCGANGeneratorConfig(**options), info=info(size, channels)),
        DCGANDiscriminator(DCGANDiscriminatorConfig(**options), info=info(size, channels)),
    )


def dense(size: int, channels: int = 3, **options: Any) -> tuple[DenseGenerator, DenseDiscriminator]:
    return (
        DenseGenerator(DenseGeneratorConfig(**options), info=info(size, channels)),
        DenseDiscriminator(DenseDiscriminatorConfig(**options), info=info(size, channels)),
    )


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("variant", "size"),
    [
        *((four_by_four, size) for size in (16, 32, 64, 128, 256)),
        *((dense, size) for size in (16, 32, 48, 64, 80, 112)),
    ],
)
def test_shapes(variant: Any, size: int, channels: int):
    generator, discriminator = variant(size, channels, width=2)
    images = generator(generator.sample_latents(2, torch.Generator()))
    assert images.shape == (2, channels, size, size)
    assert images.abs().max() < 1
    assert discriminator(images).shape == (2,)
    features = discriminator.features(images)
    sides = [feature.shape[-1] for feature in features]
    assert sides[0] == size // 2
    assert all(side * 2 == before for side, before in zip(sides[1:], sides, strict=False))
    assert sides[-1] == (4 if variant is four_by_four else size // 16)


@pytest.mark.parametrize(
    ("variant", "size", "told"),
    [
        (four_by_four, 48, "cannot make 48 pixels: set dataset.image_size to one of 16, 32, 64, 128, 256"),
        (four_by_four, 8, "cannot make 8 pixels"),
        (four_by_four, 512, "cannot make 512 pixels"),
        (dense, 40, "cannot make 40 pixels: set dataset.image_size to a multiple of 16, such as 32 or 48"),
        (dense, 15, "a multiple of 16, such as 16"),
    ],
)
def test_sizes_that_cannot_be_made(variant: Any, size: int, told: str):
    configs = {
        four_by_four: (DCGANGeneratorConfig(), DCGANDiscriminatorConfig()),
        dense: (DenseGeneratorConfig(), DenseDiscriminatorConfig()),
    }
    for config in configs[variant]:
        with pytest.raises(ValueError, match="cannot make") as caught:
            config.check_info(info(size))
        assert told in str(caught.value)
        with pytest.raises(ValueError, match="needs square images, and these are 32×64 pixels"):
            config.check_info(DatasetInfo(ImageSpec(3, 32, 64)))


def test_parameters_of_four_by_four_at_64_pixels():
    """Weights, then the biases of the outermost layers, then gains and biases of batch norm."""
    with torch.device("meta"):
        generator, discriminator = four_by_four(64)
    weights = 16 * (100 * 1024 + 1024 * 512 + 512 * 256 + 256 * 128 + 128 * 3)
    assert parameters(generator) == weights + 3 + 2 * (1024 + 512 + 256 + 128) == 12_658_435
    weights = 16 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 512 * 1)
    assert parameters(discriminator) == weights + (64 + 1) + 2 * (128 + 256 + 512) == 2_765_633


def test_parameters_of_dense_at_64_pixels():
    with torch.device("meta"):
        generator, discriminator = dense(64)
    weights = 100 * 16384 + 25 * (1024 * 512 + 512 * 256 + 256 * 128 + 128 * 3)
    biases = 16384 + 512 + 256 + 128 + 3
    assert parameters(generator) == weights + biases + 2 * (1024 + 512 + 256 + 128) == 18_872_323
    weights = 25 * (3 * 128 + 128 * 256 + 256 * 512 + 512 * 1024) + 1024 * 16
    biases = 128 + 256 + 512 + 1024 + 1
    assert parameters(discriminator) == weights + biases + 2 * (256 + 512 + 1024) == 17_234_689


def test_widths_are_capped():
    with torch.device("meta"):
        generator, discriminator = four_by_four(256)
    images = [layer.out_channels for layer in generator.modules() if isinstance(layer, nn.ConvTranspose2d)]
    assert images == [1024, 1024, 1024, 512, 256, 128, 3]
    kept = [layer.out_channels for layer in discriminator.modules() if isinstance(layer, nn.Conv2d)]
    assert kept == [64, 128, 256, 512, 1024, 1024, 1]


def test_four_by_four_without_edge_biases_has_none():
    generator, discriminator = four_by_four(32, width=4, edge_bias=False)
    for network in (generator, discriminator):
        convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
        assert [convolution.bias for convolution in convolutions] == [None] * len(convolutions)


def test_features_are_what_the_logit_is_made_of():
    for _, discriminator in (four_by_four(32, width=4), dense(32, width=4)):
        discriminator.eval()
        images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        features = discriminator.features(images)
        assert [feature.shape[1] for feature in features] == [4, 8, 16, 32][: len(features)]
        torch.testing.assert_close(discriminator.head(features[-1]).flatten(), discriminator(images))


@pytest.mark.parametrize("variant", [four_by_four, dense])
def test_weights_start_as_the_paper_says(variant: Any):
    torch.manual_seed(0)
    for network in variant(64, width=32):
        weights = [
            layer.weight.flatten()
            for layer in network.modules()
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)
        ]
        drawn = torch.cat(weights)
        assert drawn.mean().abs() < 1e-4
        assert drawn.std().item() == pytest.approx(0.02, rel=0.01)
        gains = torch.cat([layer.weight for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)])
        assert gains.mean().item() == pytest.approx(1, abs=0.005)
        assert gains.std().item() == pytest.approx(0.02, rel=0.2)
        assert all((p == 0).all() for name, p in network.named_parameters() if name.endswith("bias"))


def test_gains_start_around_0_where_the_paper_is_taken_at_its_word():
    torch.manual_seed(0)
    for network in four_by_four(64, width=32, init={"norm_mean": 0.0, "weight_std": 0.1}):
        gains = torch.cat([layer.weight for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)])
        assert gains.mean().item() == pytest.approx(0, abs=0.005)
        assert gains.std().item() == pytest.approx(0.02, rel=0.2)
        assert next(network.parameters()).std().item() == pytest.approx(0.1, rel=0.05)


@pytest.mark.parametrize("variant", [four_by_four, dense])
@pytest.mark.parametrize(
    ("norm", "cls"),
    [("batch", nn.BatchNorm2d), ("instance", nn.InstanceNorm2d), ("layer", nn.GroupNorm), ("none", None)],
)
def test_norms(variant: Any, norm: str, cls: type[nn.Module] | None):
    generator, discriminator = variant(32, width=4, norm=norm)
    known = (nn.BatchNorm2d, nn.InstanceNorm2d, nn.GroupNorm)
    for network, count in ((generator, 3 if variant is four_by_four else 4), (discriminator, 2)):
        norms = [layer for layer in network.modules() if isinstance(layer, known)]
        expected = count if variant is four_by_four or network is generator else 3
        assert [type(layer) for layer in norms] == ([cls] * expected if cls else [])
    images = generator(torch.randn(2, 100))
    assert discriminator(images).isfinite().all()


@pytest.mark.parametrize("variant", [four_by_four, dense])
def test_without_a_norm_every_layer_has_a_bias(variant: Any):
    for network in variant(32, width=4, norm="none"):
        layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)]
        assert len(layers) >= 4
        assert all(layer.bias is not None for layer in layers)


@pytest.mark.parametrize("config", [DenseGeneratorConfig, DenseDiscriminatorConfig])
def test_instance_norm_needs_more_than_one_pixel(config: Any):
    with pytest.raises(ValueError, match=r"has instance norm over single pixels at 16 pixels: set norm to"):
        config(norm="instance").check_info(info(16))
    config(norm="instance").check_info(info(32))
    config(norm="layer").check_info(info(16))


def test_discriminator_without_batch_norm_judges_each_image_alone():
    """What a gradient penalty needs."""
    for norm, alone in (("layer", True), ("none", True), ("instance", True), ("batch", False)):
        _, discriminator = four_by_four(32, width=4, norm=norm)
        images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        assert torch.allclose(discriminator(images)[:2], discriminator(images[:2]), atol=1e-6) is alone


def test_slope_reaches_every_activation():
    discriminator = DCGANDiscriminator(DCGANDiscriminatorConfig(width=4, slope=0.3), info=info(32))
    slopes = [layer.negative_slope for layer in discriminator.modules() if isinstance(layer, nn.LeakyReLU)]
    assert slopes == [0.3, 0.3, 0.3]
