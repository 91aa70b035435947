"""Both generators against plain transcriptions, their sizes, and the noise of the U-Net."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from ganzoo_translation.noise import LatentDropout
from torch import Tensor, nn
from transcriptions import generators

from ganzoo.components.spec import DatasetInfo, ImageSpec
from ganzoo.registry.plugin_manager import plugin_manager

NORMS = {"batch": nn.BatchNorm2d, "instance": nn.InstanceNorm2d}


def info(size: int | tuple[int, int], condition: int = 3, channels: int = 3) -> DatasetInfo:
    height, width = (size, size) if isinstance(size, int) else size
    return DatasetInfo(ImageSpec(channels, height, width), condition=ImageSpec(condition, height, width))


def build(name: str, of: DatasetInfo, **options: Any) -> Any:
    entry = plugin_manager().registries.generators[name]
    config = entry.config(name=name, **options)
    config.check_info(of)
    return entry.load()(config, info=of)


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@torch.no_grad()
def give_weights(plain: nn.Module, network: nn.Module) -> None:
    """Weights of no special values, the same to both, by their shapes: ours are listed in the order of use."""
    for layer in plain.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 1.0, 0.2)
            nn.init.normal_(layer.bias, 0.0, 0.2)
            layer.running_mean.normal_(0.0, 0.1)
            layer.running_var.uniform_(0.5, 1.5)
    ours, theirs = list(in_order(network)), list(in_order(plain))
    for one, other in zip(ours, theirs, strict=True):
        one.load_state_dict(other.state_dict())


def in_order(network: nn.Module) -> Iterator[nn.Module]:
    """Layers with weights, from the input to the output: nested skips hold theirs so, and rows of blocks too."""
    return (layer for layer in network.modules() if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d)))


class Masks(nn.Module):
    """Dropout of the transcription by the masks that ours draws."""

    def __init__(self, place: int, latents: Tensor) -> None:
        super().__init__()
        self.dropout, self.latents = LatentDropout(0.5, place), latents

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(x, self.latents)


@pytest.mark.parametrize("norm", ["batch", "instance"])
@pytest.mark.parametrize("noisy", [False, True])
@pytest.mark.parametrize("levels", [5, 8])
def test_unet_computes_the_same(norm: str, noisy: bool, levels: int) -> None:
    size = 2**levels
    network = build("unet", info(size, condition=1), width=4, norm=norm, latent_dim=int(noisy))
    latents, condition = torch.randn(2, int(noisy)), torch.rand(2, 1, size, size) * 2 - 1
    places = iter(range(8))
    dropout = (lambda: Masks(next(places), latents)) if noisy and levels == 8 else None
    plain = generators.unet(1, 3, levels, 4, norm=NORMS[norm], dropout=dropout)
    if noisy and levels == 5:  # which the authors' has no dropout at
        network.dropouts = nn.ModuleList()
    give_weights(plain, network)
    for training in (True, False):
        network.train(training)
        plain.train(training)
        with torch.no_grad():
            ours, theirs = network(latents, condition=condition), plain(condition)
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


@pytest.mark.parametrize("norm", ["batch", "instance"])
@pytest.mark.parametrize(("size", "blocks"), [(32, 6), ((16, 24), 6), (256, 9)])
def test_resnet_computes_the_same(norm: str, size: int | tuple[int, int], blocks: int) -> None:
    network = build("resnet_translator", info(size, condition=1), width=4, norm=norm)
    plain = generators.resnet(1, 3, 4, norm=NORMS[norm], blocks=blocks)
    give_weights(plain, network)
    condition = torch.rand(2, *network.info.condition.shape) * 2 - 1
    for training in (True, False):
        network.train(training)
        plain.train(training)
        with torch.no_grad():
            ours, theirs = network(torch.empty(2, 0), condition=condition), plain(condition)
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def test_sizes_are_those_of_the_published_code() -> None:
    """54.414 M, 11.378 M and 7.8 M, as the authors' code prints them."""
    with torch.device("meta"):
        assert count(build("unet", info(256))) == 54_413_955
        assert count(build("resnet_translator", info(256))) == 11_378_179
        assert count(build("resnet_translator", info(128))) == 7_837_699


def test_weights_start_as_in_the_paper() -> None:
    for network in (build("unet", info(64)), build("resnet_translator", info(64))):
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                assert abs(layer.weight.mean().item()) < 5 * 0.02 / layer.weight.numel() ** 0.5
                assert abs(layer.weight.std().item() / 0.02 - 1) < 5 / (2 * layer.weight.numel()) ** 0.5
                assert layer.bias is None or not layer.bias.any()
            elif isinstance(layer, nn.BatchNorm2d):
                assert abs(layer.weight.mean().item() - 1) < 5 * 0.02 / layer.weight.numel() ** 0.5


# Noise


def test_half_of_the_units_are_dropped_each_by_chance() -> None:
    latents = torch.randn(64, 1)
    kept = LatentDropout(0.5, 1).kept(torch.empty(64, 32, 8, 8), latents).flatten(1)
    units = kept.shape[1]
    assert set(kept.unique().tolist()) == {0.0, 1.0}
    assert abs(kept.mean().item() - 0.5) < 5 * 0.5 / kept.numel() ** 0.5
    assert (kept.mean(1) - 0.5).abs().max() < 5 * 0.5 / units**0.5
    assert (kept.mean(0) - 0.5).abs().max() < 5 * 0.5 / 64**0.5
    signs = kept * 2 - 1
    between = signs @ signs.T / units  # of two samples
    assert (between - between.diag().diag()).abs().max() < 5 / units**0.5
    for lag in (1, 2, 8, 64):  # of two units of a sample
        assert (signs[:, lag:] * signs[:, :-lag]).mean().abs() < 5 / kept.numel() ** 0.5
    other = LatentDropout(0.5, 2).kept(torch.empty(64, 32, 8, 8), latents).flatten(1) * 2 - 1
    assert ((signs * other).mean(1)).abs().max() < 5 / units**0.5


@pytest.mark.parametrize("rate", [0.0, 0.25, 0.9])
def test_dropout_keeps_the_mean(rate: float) -> None:
    maps = torch.ones(16, 4096)
    assert abs(LatentDropout(rate, 0)(maps, torch.randn(16, 1)).mean().item() - 1) < 0.05


def test_a_sample_follows_from_its_latents_alone_in_sampling_too() -> None:
    network = build("unet", info(64), width=4, norm="instance").eval()
    latents, condition = network.latents_of_seed(4, 3), torch.rand(1, 3, 64, 64).expand(4, -1, -1, -1)
    with torch.no_grad():
        together = network(latents, condition=condition)
        for index in range(4):
            alone = network(latents[index : index + 1], condition=condition[:1])
            torch.testing.assert_close(alone, together[index : index + 1], atol=1e-5, rtol=0)
            assert all((together[index] - together[other]).abs().max() > 1e-4 for other in range(index))
        quiet = build("unet", info(64), width=4, latent_dim=0).eval()
        assert quiet.latents_of_seed(4, 3).shape == (4, 0)


@pytest.mark.parametrize(
    ("name", "of", "options", "told"),
    [
        (
            "unet",
            info(30),
            {},
            "halves images 2 times, and these are 30×30 pixels: set depth, or dataset.image_size to",
        ),
        ("unet", info((64, 48)), {"depth": 5}, "halves images 5 times, and these are 64×48 .* a multiple of 32"),
        ("resnet_translator", info(30), {}, "multiples of 4 from 16 on, and these are 30×30"),
        (
            "resnet_translator",
            DatasetInfo(ImageSpec(3, 64, 64), condition=ImageSpec(3, 32, 32)),
            {},
            "needs conditions of 64×64 pixels, and they are 3×32×32",
        ),
    ],
)
def test_sizes_that_they_cannot_make_are_told(name: str, of: DatasetInfo, options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        build(name, of, **options)
