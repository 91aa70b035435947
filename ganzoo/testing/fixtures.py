"""What a component is tried with: small options, made-up facts and batches, and tiny networks to go beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from ganzoo.components.network import Discriminator, Generator
from ganzoo.components.options import ComponentConfig, DiscriminatorConfig, GeneratorConfig
from ganzoo.components.spec import DatasetInfo, ImageSpec
from ganzoo.errors import PluginError
from ganzoo.registry.kinds import kind_of
from ganzoo.registry.plugin_manager import PluginManager, plugin_manager
from ganzoo.registry.registry import Entry

CLASSES = tuple("0123456789")
SMALL = {"width": 4, "dense_width": 16, "max_channels": 64, "hidden": 8, "latent_dim": 8, "count": 16}
"""Options of these names are made this small where they are whole numbers; see `small_options`."""
SIZES = (16, 32, 28, 64, 128, 256)
BATCH = 4


class ConformanceError(AssertionError):
    """A component does not keep its contract; the text says what to change."""


def fail(entry: Entry[Any], message: str) -> NoReturn:
    """Raise the error, with the component's name before it."""
    raise ConformanceError(f"{describe(entry)} of the plugin {entry.plugin}: {message}")


def require(kept: object, entry: Entry[Any], message: str) -> None:
    """Fail unless `kept`."""
    if not kept:
        fail(entry, message)


def describe(entry: Entry[Any]) -> str:
    """Kind and name of a component, such as "generator dcgan"."""
    return f"{kind_of(entry.options).name} {entry.name}"


def components_of(distribution: str, manager: PluginManager | None = None) -> list[Entry[Any]]:
    """Everything that the plugins of a distribution register, to be checked one by one.

    Raises:
        PluginError: it is not installed, or one of its plugins is broken.
    """
    manager = manager or plugin_manager()
    found = [plugin for plugin in manager.plugins if plugin.distribution == distribution]
    if not found:
        raise PluginError(f"{distribution}: no plugin of it is installed; `pip install -e .` in its folder does it")
    for plugin in found:
        if plugin.status != "loaded":
            raise PluginError(f"the plugin {plugin} is {plugin.status}: {plugin.error}")
    names = {str(plugin) for plugin in found}
    return [entry for registry in manager.registries.all() for entry in registry if entry.plugin in names]


def small_options(entry: Entry[Any], options: Mapping[str, Any] | None = None) -> Any:
    """The component's config at a size that is quick to try.

    Whole numbers called `width`, `dense_width`, `max_channels`, `hidden`, `latent_dim` or `count` shrink as far as
    the config lets them, and nothing is downloaded; a config that needs others has a class attribute
    `small_options`, a dictionary of them.

    Args:
        entry: the component.
        options: to be set beside these, and over them.
    """
    small: dict[str, Any] = {}
    for name, field in entry.config.model_fields.items():
        if name in SMALL and isinstance(field.default, int):
            small[name] = SMALL[name] if name != "latent_dim" else min(SMALL[name], field.default)
        elif name == "download":
            small[name] = False
    small |= getattr(entry.config, "small_options", {})
    try:
        return entry.config(name=entry.name, **{**small, **(options or {})})
    except ValidationError:  # one option is bound to another, such as the codes in a latent vector to its length
        small.pop("latent_dim", None)
        return entry.config(name=entry.name, **{**small, **(options or {})})


def small_info(config: ComponentConfig) -> DatasetInfo:
    """Facts of the smallest labeled images that the config says it can serve."""
    reason = ""
    for channels in (3, 1):
        for size in SIZES:
            info = DatasetInfo(ImageSpec(channels, size, size), CLASSES)
            try:
                config.check_info(info)
            except ValueError as error:
                reason = str(error)
            else:
                return info
    raise ConformanceError(f"{config.name}: `check_info` accepts none of {SIZES} pixels, gray or color: {reason}")


def generator_of_seed(seed: int = 0) -> torch.Generator:
    """Random numbers on the CPU."""
    return torch.Generator().manual_seed(seed)


def images_for(info: DatasetInfo, count: int = BATCH, seed: int = 1) -> Tensor:
    """Images (count, C, H, W) in [−1, 1]."""
    return torch.rand(count, *info.image.shape, generator=generator_of_seed(seed)) * 2 - 1


def labels_for(info: DatasetInfo, count: int = BATCH) -> Tensor:
    """Class indices (count,)."""
    return torch.arange(count) % max(info.num_classes, 1)


def seeded(build: Callable[[], Any], seed: int = 0) -> Any:
    """What `build` makes from this seed; the process's random numbers are as before afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


class TinyGenerator(Generator):
    """One dense layer, to try penalties, losses and trainers with."""

    def __init__(self, config: GeneratorConfig, *, info: DatasetInfo) -> None:
        super().__init__(config, info=info)
        self.dense = nn.Linear(config.latent_dim, info.image.channels * info.image.height * info.image.width)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images (N, C, H, W)."""
        images: Tensor = self.dense(latents).tanh()
        return images.reshape(-1, *self.info.image.shape)


class TinyDiscriminator(Discriminator):
    """Two convolutions and a dense layer."""

    def __init__(self, config: DiscriminatorConfig, *, info: DatasetInfo) -> None:
        super().__init__(config, info=info)
        self.convolutions = nn.ModuleList([nn.Conv2d(info.image.channels, 4, 4, 2, 1), nn.Conv2d(4, 8, 4, 2, 1)])
        self.head = nn.Linear(8, 1)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Logits (N,)."""
        logits: Tensor = self.head(self.features(images)[-1].mean((2, 3)))
        return logits.flatten()

    def features(self, images: Tensor) -> list[Tensor]:
        """Both convolutions' outputs."""
        maps: list[Tensor] = []
        for convolution in self.convolutions:
            maps.append(torch.nn.functional.softplus(convolution(maps[-1] if maps else images)))
        return maps


def tiny_networks(size: int = 16) -> tuple[Generator, Discriminator]:
    """A generator and a discriminator of a few thousand weights."""
    info = DatasetInfo(ImageSpec(3, size, size), CLASSES)
    return seeded(lambda: TinyGenerator(GeneratorConfig(latent_dim=8), info=info)), tiny_discriminator(info)


def tiny_discriminator(info: DatasetInfo) -> Discriminator:
    """A discriminator of a few hundred weights."""
    network: Discriminator = seeded(lambda: TinyDiscriminator(DiscriminatorConfig(), info=info), 1)
    return network
