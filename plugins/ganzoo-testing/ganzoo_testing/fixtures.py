"""Fixtures of the checks: small options, synthetic batches, and tiny networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from ganzoo.plugin import (
    ComponentConfig,
    DatasetInfo,
    Discriminator,
    DiscriminatorConfig,
    Entry,
    GanzooError,
    Generator,
    GeneratorConfig,
    ImageSpec,
    LabelSpec,
    first_line,
)

CLASSES = tuple("0123456789")
SMALL_VALUES = {"width": 4, "dense_width": 16, "max_channels": 64, "hidden": 8, "latent_dim": 8, "count": 16}
"""Values of `small_options` for integer options of these names."""
SIZES = (16, 32, 28, 64, 128, 256)
BATCH = 4


class ConformanceError(AssertionError):
    """A component does not conform to its interface; the text says what to change."""


def require(kept: object, message: str) -> None:
    """Raise ConformanceError unless `kept`."""
    if not kept:
        raise ConformanceError(message)


@contextmanager
def contract(text: str, *given: Any) -> Iterator[None]:
    """Require that the body raises nothing and leaves what it is `given` as it is.

    Args:
        text: the call and what it must return, such as "forward(latents) → (N, C, H, W)".
        given: what the component is handed, None among it.

    Raises:
        ConformanceError: with the contract before torch's error.
    """
    tensors = [each for each in given if isinstance(each, Tensor)]
    before = [tensor.detach().clone() for tensor in tensors]
    try:
        yield
    except (ConformanceError, GanzooError):
        raise
    except Exception as error:
        raise ConformanceError(f"{text}: it raises {type(error).__name__}: {first_line(error)}") from error
    changed = any(not torch.equal(*both) for both in zip(before, tensors, strict=True))
    require(not changed, f"{text}: it changes in place what it is given; a first layer or operation is in place")


def small_options(entry: Entry[Any], options: Mapping[str, Any] | None = None) -> Any:
    """Return a config of the component that is small enough to test quickly.

    Whole numbers called `width`, `dense_width`, `max_channels`, `hidden`, `latent_dim` or `count` shrink as far as
    the config lets them, and nothing is downloaded; a config that needs others has a class attribute
    `small_options`, a dictionary of them.

    Args:
        entry: the component.
        options: further ones, which take precedence.
    """
    small: dict[str, Any] = {}
    for name, field in entry.config.model_fields.items():
        if name in SMALL_VALUES and isinstance(field.default, int):
            small[name] = SMALL_VALUES[name] if name != "latent_dim" else min(SMALL_VALUES[name], field.default)
        elif name == "download":
            small[name] = False
    small |= getattr(entry.config, "small_options", {})
    try:
        return entry.config(name=entry.name, **{**small, **(options or {})})
    except ValidationError:  # one option is bound to another, such as the codes in a latent vector to its length
        small.pop("latent_dim", None)
        return entry.config(name=entry.name, **{**small, **(options or {})})


def small_info(config: ComponentConfig) -> DatasetInfo:
    """Return the smallest labeled images that the config accepts, with images as conditions if it uses these."""
    reason = ""
    for channels in (3, 1):
        for size in SIZES:
            image = ImageSpec(channels, size, size)
            condition = image if "condition" in config.uses else None
            info = DatasetInfo(image, LabelSpec.classes(CLASSES), condition)
            try:
                config.check_info(info)
            except ValueError as error:
                reason = str(error)
            else:
                return info
    raise ConformanceError(f"`check_info` accepts none of {SIZES} pixels, gray or color: {reason}")


def generator_of_seed(seed: int = 0) -> torch.Generator:
    """Return a random number generator on the CPU."""
    return torch.Generator().manual_seed(seed)


def images_for(info: DatasetInfo, count: int = BATCH, seed: int = 1) -> Tensor:
    """Draw images (count, C, H, W) in [−1, 1]."""
    return torch.rand(count, *info.image.shape, generator=generator_of_seed(seed)) * 2 - 1


def labels_for(info: DatasetInfo, count: int = BATCH) -> Tensor:
    """Draw class indices (count,)."""
    return torch.arange(count) % max(info.num_classes, 1)


def inputs_for(network: Generator | Discriminator, info: DatasetInfo) -> dict[str, Tensor]:
    """Return the keywords that a network takes beside latents or samples."""
    condition = None
    if info.condition is not None:
        condition = torch.rand(BATCH, *info.condition.shape, generator=generator_of_seed(2)) * 2 - 1
    return network.inputs(labels_for(info), condition)


def seeded(build: Callable[[], Any], seed: int = 0) -> Any:
    """Call `build` with seeded global generators, which are restored afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


class TinyGeneratorConfig(GeneratorConfig):
    """Options of the tiny generator."""

    latent_dim: int = 8
    conditional: bool = False
    """Whether it takes a condition."""

    @property
    def uses(self) -> frozenset[str]:
        """The condition, if it takes one."""
        return frozenset({"condition"} if self.conditional else ())


class TinyGenerator(Generator):
    """One dense layer, and a convolution of any condition, to test penalties, losses and trainers with."""

    def __init__(self, config: GeneratorConfig, *, info: DatasetInfo) -> None:
        super().__init__(config, info=info)
        self.dense = nn.Linear(config.latent_dim, info.image.channels * info.image.height * info.image.width)
        if "condition" in self.uses and isinstance(info.condition, ImageSpec):
            self.convolution = nn.Conv2d(info.condition.channels, info.image.channels, 3, padding=1)

    def forward(self, latents: Tensor, *, condition: Tensor | None = None) -> Tensor:
        """Return images (N, C, H, W)."""
        images: Tensor = self.dense(latents).tanh().reshape(-1, *self.info.image.shape)
        return images if condition is None else (images + self.convolution(condition)).tanh()


class TinyDiscriminator(Discriminator):
    """Two convolutions and a dense layer."""

    def __init__(self, config: DiscriminatorConfig, *, info: DatasetInfo) -> None:
        super().__init__(config, info=info)
        self.convolutions = nn.ModuleList([nn.Conv2d(info.image.channels, 4, 4, 2, 1), nn.Conv2d(4, 8, 4, 2, 1)])
        self.head = nn.Linear(8, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N,)."""
        logits: Tensor = self.head(self.features(images)[-1].mean((2, 3)))
        return logits.flatten()

    def features(self, images: Tensor) -> list[Tensor]:
        """Return the outputs of both convolutions."""
        maps: list[Tensor] = []
        for convolution in self.convolutions:
            maps.append(torch.nn.functional.softplus(convolution(maps[-1] if maps else images)))
        return maps


def tiny_networks(size: int = 16) -> tuple[Generator, Discriminator]:
    """Return a generator and a discriminator of a few thousand parameters."""
    info = DatasetInfo(ImageSpec(3, size, size), LabelSpec.classes(CLASSES))
    return tiny_generator(info), tiny_discriminator(info)


def tiny_generator(info: DatasetInfo) -> Generator:
    """Return a generator of a few thousand parameters, which takes a condition if the dataset has one."""
    config = TinyGeneratorConfig(conditional=info.condition is not None)
    network: Generator = seeded(lambda: TinyGenerator(config, info=info))
    return network


def tiny_discriminator(info: DatasetInfo) -> Discriminator:
    """Return a discriminator of a few hundred parameters."""
    network: Discriminator = seeded(lambda: TinyDiscriminator(DiscriminatorConfig(), info=info), 1)
    return network
