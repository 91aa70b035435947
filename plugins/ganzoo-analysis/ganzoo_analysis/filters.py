"""Filters of the networks: their weights, their strongest responses, and images without some of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import activation, batchnorm, dropout, instancenorm, normalization

from ganzoo.plugin import Discriminator, Generator, RequestError, StoredImages, real_images
from ganzoo.sampling.generate import batch_norm_mode

CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)
# Modules that may follow a convolution in a Sequential and belong to its layer.
BELONGS = tuple(
    cls
    for module in (activation, batchnorm, dropout, instancenorm, normalization)
    for name in module.__all__
    if isinstance(cls := getattr(module, name), type)
)
RECTIFIERS = (nn.ReLU, nn.LeakyReLU)
BATCH = 64


@dataclass(frozen=True)
class Layer:
    """A convolution of a network, and the module whose output is that of its layer.

    That is the last norm, activation or dropout directly after it in the same `Sequential`, or else itself.
    """

    convolution: nn.Conv2d | nn.ConvTranspose2d
    output: nn.Module
    channels: int


def layers(network: nn.Module, run: Callable[[], Any]) -> list[Layer]:
    """Return the convolutions of `network` in the order in which `run()`, which calls it, first reaches them."""
    reached: list[Any] = []
    hooks = [
        module.register_forward_hook(lambda module, *_: reached.append(module))
        for module in network.modules()
        if isinstance(module, CONVOLUTIONS)
    ]
    try:
        with torch.no_grad(), eager():
            run()
    finally:
        for hook in hooks:
            hook.remove()
    return [Layer(module, _output(network, module), module.out_channels) for module in dict.fromkeys(reached)]


def generator_layers(generator: Generator) -> list[Layer]:
    """Return the convolutions of a generator, first to last."""
    device = next(generator.parameters()).device
    # Two, since batch norm without running statistics fails on a batch of one.
    latents = generator.sample_latents(2, torch.Generator().manual_seed(0)).to(device)
    inputs = {name: each.to(device) for name, each in _blank_inputs(generator, 2).items()}
    with batch_norm_mode(generator, "auto"):
        return layers(generator, lambda: generator(latents, **inputs))


def _blank_inputs(generator: Generator, count: int) -> dict[str, Tensor]:
    """Return labels and conditions of zeros, where the generator uses them."""
    labels, condition = generator.info.labels, generator.info.condition
    indices = labels is None or labels.kind == "classes"
    values = () if indices or labels is None else (len(labels.names),)
    return generator.inputs(
        torch.zeros(count, *values, dtype=torch.int64 if indices else None),
        None if condition is None else torch.zeros(count, *condition.shape),
    )


def discriminator_layers(discriminator: Discriminator) -> list[Layer]:
    """Return the convolutions that a discriminator's `features` run through, first to last."""
    device = next(discriminator.parameters()).device
    images = torch.zeros(2, *discriminator.info.image.shape, device=device)
    with batch_norm_mode(discriminator, "auto"):
        return layers(discriminator, lambda: discriminator.features(images))


def filter_pictures(layer: Layer, image_channels: int) -> Tensor:
    """Return the filters between a layer and the image as pictures (F, C, h, w) in [−1, 1] on one scale, 0 is gray.

    For a convolution that sees the image, one for each of its outputs; for one that makes it, one for each of its
    inputs. Where it sees more than the image (labels as further channels, say), only the first `image_channels`.

    Raises:
        RequestError: the layer neither sees nor makes images.
    """
    convolution = layer.convolution
    weight = convolution.weight.detach().float().cpu()
    if isinstance(convolution, nn.ConvTranspose2d):
        weight = weight.transpose(0, 1)  # now (out, in, h, w) for both
    makes, sees = weight.shape[0] == image_channels, weight.shape[1] >= image_channels
    if makes:
        weight = weight.transpose(0, 1)
    elif sees:
        weight = weight[:, :image_channels]
    else:
        raise RequestError(
            f"a convolution of {convolution.in_channels} to {convolution.out_channels} channels "
            f"neither sees nor makes images of {image_channels}"
        )
    return weight / weight.abs().max().clamp_min(1e-12)


@contextmanager
def dropping(layers: Sequence[Layer], drop: Mapping[int, Sequence[int]]) -> Iterator[None]:
    """Set feature maps to 0 whenever the network runs inside the context (paper, fig. 6).

    Args:
        layers: of the network, from `generator_layers`.
        drop: which maps, by the index of their layer.

    Raises:
        RequestError: there is no such layer or map.
    """
    for index, maps in drop.items():
        check_maps(layers, index, maps)
    hooks = []
    try:
        for index, maps in drop.items():
            hooks.append(layers[index].output.register_forward_hook(_zeroing(maps)))
        with eager():
            yield
    finally:
        for hook in hooks:
            hook.remove()


def check_maps(layers: Sequence[Layer], index: int, maps: Sequence[int]) -> None:
    """Raise RequestError unless there is a layer `index` with all of `maps`."""
    if not 0 <= index < len(layers):
        raise RequestError(f"layer {index}: the network's layers are numbered from 0 to {len(layers) - 1}")
    off = [one for one in maps if not 0 <= one < layers[index].channels]
    if off:
        last = layers[index].channels - 1
        raise RequestError(f"feature {off[0]} of layer {index}: its features are numbered from 0 to {last}")


@dataclass(frozen=True)
class Responses:
    """Strongest responses of a few features of one layer, the strongest first.

    Attributes:
        layer: index of the feature maps that `features` returns.
        features: their indices (F,).
        values: strongest response (F, K) of each to each of its K images.
        images: these images (F, K, C, H, W) in [−1, 1].
        guided: their guided gradients (F, K, C, H, W), each scaled to [−1, 1], 0 is gray.
    """

    layer: int
    features: list[int]
    values: Tensor
    images: Tensor
    guided: Tensor


def strongest_responses(
    discriminator: Discriminator,
    packed: StoredImages,
    *,
    layer: int = -1,
    features: Sequence[int] | None = None,
    count: int = 6,
    top: int = 8,
    among: int = 2000,
    seed: int = 0,
) -> Responses:
    """Run guided backpropagation from the strongest responses of some features (paper, fig. 5).

    Args:
        discriminator: in evaluation mode, with fixed batch statistics.
        packed: real images.
        layer: index of the maps that `features` returns; −1 for the last.
        features: channels of this layer; default: the `count` with the strongest response to any image.
        count: how many where none are named.
        top: images for each feature.
        among: number of random images of the pack to search.
        seed: of their choice.

    Raises:
        RequestError: there is no such layer or feature, or the network has no rectifier.
    """
    chosen = torch.randperm(len(packed), generator=torch.Generator().manual_seed(seed))[:among]
    top = min(top, len(chosen))
    layer, responses = _responses(discriminator, packed, chosen, layer)
    channels = responses.shape[1]
    if features is None:
        features = responses.max(0).values.topk(min(count, channels)).indices.tolist()
    off = [one for one in features if not 0 <= one < channels]
    if off or not features:
        told = f"feature {off[0]}" if off else "no feature"
        raise RequestError(f"{told} of layer {layer}: its features are numbered from 0 to {channels - 1}")
    values, places = responses[:, list(features)].t().topk(top)
    images = torch.stack([real_images(packed, chosen[those]) for those in places])
    guided = torch.stack(
        [guided_gradients(discriminator, those, layer, one) for those, one in zip(images, features, strict=True)]
    )
    scale = guided.abs().amax((2, 3, 4), keepdim=True).clamp_min(1e-12)
    return Responses(layer, list(features), values, images, guided / scale)


def guided_gradients(discriminator: Discriminator, images: Tensor, layer: int, feature: int) -> Tensor:
    """Return guided gradients (arXiv 1412.6806) of the strongest unit of a feature: (N, C, H, W), on the CPU.

    The gradient of each image's strongest response goes back through every ReLU and LeakyReLU only where both it and
    the rectifier's input are positive. Hooks do this, removed at the end; the network stays as it was.

    Args:
        discriminator: in evaluation mode, with fixed batch statistics, or images would mix.
        images: (N, C, H, W) in [−1, 1].
        layer: index of the maps that `features` returns.
        feature: channel of this layer.

    Raises:
        RequestError: the discriminator has no ReLU or LeakyReLU modules.
    """
    rectifiers = [module for module in discriminator.modules() if isinstance(module, RECTIFIERS)]
    if not rectifiers:
        raise RequestError(
            f"{type(discriminator).__name__} has no nn.ReLU or nn.LeakyReLU modules, "
            f"which guided backpropagation goes through: leave it out by --no-guided"
        )
    passes: dict[nn.Module, Tensor] = {}

    def before(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        passes[module] = inputs[0].detach() > 0  # now, as it may be overwritten

    def after(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        mask = passes.pop(module)
        if output.requires_grad:
            output.register_hook(lambda gradient: gradient.clamp(min=0) * mask)  # type: ignore[no-untyped-call]

    hooks = [module.register_forward_pre_hook(before) for module in rectifiers]
    hooks += [module.register_forward_hook(after) for module in rectifiers]
    try:
        with torch.enable_grad():
            seen = images.to(next(discriminator.parameters()).device).detach().clone().requires_grad_()
            maps = discriminator.features(seen)[layer][:, feature]
            (gradient,) = torch.autograd.grad(maps.reshape(len(maps), -1).amax(1).sum(), seen)
    finally:
        for hook in hooks:
            hook.remove()
    return gradient.cpu()


@torch.no_grad()
def _responses(discriminator: Discriminator, packed: StoredImages, chosen: Tensor, layer: int) -> tuple[int, Tensor]:
    """Return the layer's index from 0 on, and the strongest response (N, F) of each of its features to each image."""
    device = next(discriminator.parameters()).device
    found = []
    for part in torch.split(chosen, BATCH):
        maps = discriminator.features(real_images(packed, part).to(device))
        index = layer + len(maps) if layer < 0 else layer
        if not 0 <= index < len(maps):
            raise RequestError(f"layer {layer}: the discriminator's layers are numbered from 0 to {len(maps) - 1}")
        found.append(maps[index].flatten(2).amax(2).cpu() if maps[index].ndim > 2 else maps[index].cpu())
    return index, torch.cat(found)


def eager() -> AbstractContextManager[Any]:
    """Run networks eagerly: a compiled one may ignore hooks registered later."""
    return torch.compiler.set_stance("force_eager")  # type: ignore[no-any-return]


def _zeroing(maps: Sequence[int]) -> Callable[[nn.Module, Any, Tensor], Tensor]:
    def zero(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        return output.index_fill(1, torch.tensor(list(maps), device=output.device), 0.0)

    return zero


def _output(network: nn.Module, convolution: nn.Module) -> nn.Module:
    for parent in network.modules():
        if isinstance(parent, nn.Sequential) and any(child is convolution for child in parent):
            place = next(index for index, child in enumerate(parent) if child is convolution)
            last = convolution
            for child in list(parent)[place + 1 :]:
                if not isinstance(child, BELONGS):
                    break
                last = child
            return last
    return convolution
