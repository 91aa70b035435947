"""Building a network of the plugin by its name, giving it the weights of a transcription, and looking at it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ganzoo.components.network import Discriminator, Generator
from ganzoo.components.spec import DatasetInfo, ImageSpec, LabelSpec
from ganzoo.registry.plugin_manager import plugin_manager

DIGITS = tuple("0123456789")
TOLERANCE = 1e-5


def info(channels: int, size: int, classes: Sequence[str] = ()) -> DatasetInfo:
    return DatasetInfo(ImageSpec(channels, size, size), LabelSpec.classes(classes))


def outline(name: str, info: DatasetInfo, generator: dict[str, Any], discriminator: dict[str, Any]) -> tuple[Any, Any]:
    """As `build`, but of shapes alone: for what can be counted without computing."""
    with torch.device("meta"):
        return build(name, info, generator, discriminator)


def build(name: str, info: DatasetInfo, generator: dict[str, Any], discriminator: dict[str, Any]) -> tuple[Any, Any]:
    """Generator and discriminator of this name with these options."""
    registries = plugin_manager().registries
    networks = []
    for registry, options in ((registries.generators, generator), (registries.discriminators, discriminator)):
        config = registry[name].config(name=name, **options)
        config.check_info(info)
        networks.append(registry[name].load()(config, info=info))
    return networks[0], networks[1]


@torch.no_grad()
def copy_weights(weights: Iterable[Tensor], network: nn.Module) -> None:
    """Parameters in order; dense ones may be (in, out)."""
    for source, target in zip(weights, network.parameters(), strict=True):
        if source.ndim == 2 and source.shape != target.shape:
            source = source.T
        assert source.shape == target.shape
        target.copy_(source)


def with_random_norms(network: nn.Module) -> nn.Module:
    """Gains, biases and running statistics of no special values, so that a swap of two shows."""
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 1.0, 0.2)
            nn.init.normal_(layer.bias, 0.0, 0.2)
            layer.running_mean.normal_(0.0, 0.1)
            layer.running_var.uniform_(0.5, 1.5)
    return network


def copy_statistics(source: nn.Module, target: nn.Module) -> None:
    """Running statistics, in order."""
    for one, other in zip(source.buffers(), target.buffers(), strict=True):
        other.copy_(one)


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@torch.no_grad()
def shapes(network: Generator | Discriminator, *inputs: Tensor, **keywords: Tensor) -> list[tuple[int, ...]]:
    """What each block gives for one image, first to last."""
    seen: list[tuple[int, ...]] = []
    hooks = [
        block.register_forward_hook(lambda _block, _inputs, output: seen.append(tuple(output.shape[1:])))
        for block in network.blocks
    ]
    network(*inputs, **keywords)
    for hook in hooks:
        hook.remove()
    return seen


def assert_close(ours: Tensor, theirs: Tensor, tolerance: float = TOLERANCE) -> None:
    torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=0)


def assert_drawn(weight: Tensor, mean: float, deviation: float) -> None:
    """Mean and deviation are those of so many independent draws, to five standard errors."""
    n = weight.numel()
    assert abs(weight.mean().item() - mean) < 5 * deviation / n**0.5
    assert abs(weight.std().item() / deviation - 1) < 5 / (2 * n) ** 0.5
