"""Fixtures of the checks: small options, synthetic batches, and tiny networks."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from math import prod
from typing import Any, get_args

import numpy as np
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
    Schedule,
    TrainerConfig,
    VectorSpec,
    first_line,
    kept_random_state,
)

CLASSES = tuple("0123456789")
LATENT_DIM = 8
SMALL_VALUES = {
    "width": 4,
    "dense_width": 16,
    "max_channels": 64,
    "hidden": 8,
    "latent_dim": LATENT_DIM,
    "count": 16,
    "image_size": 16,
}
"""Values of `small_options` for integer options of these names."""
SIZES = (16, 32, 28, 64, 128, 256)
LENGTHS = (2, 16, 60)
Spec = ImageSpec | VectorSpec
IMAGES: tuple[Spec, ...] = tuple(ImageSpec(channels, size, size) for channels in (3, 1) for size in SIZES)
VECTORS: tuple[Spec, ...] = tuple(map(VectorSpec, LENGTHS))
LABELS = (
    LabelSpec("classes", CLASSES),
    LabelSpec("attributes", ("bright", "large", "round")),
    LabelSpec("continuous", ("height", "width")),
)
BATCH = 4
ODD_SEED = 918_273_645
"""A seed that no component has."""
SMALL_OPTIONS = (
    "Give the config a class attribute small_options, a dictionary of options that are tested in their place"
)


class ConformanceError(AssertionError):
    """A component does not conform to its interface; the text says what to change."""


def require(kept: object, message: str) -> None:
    """Raise ConformanceError unless `kept`."""
    if not kept:
        raise ConformanceError(message)


@contextmanager
def contract(text: str, *given: Any, info: DatasetInfo | None = None) -> Iterator[None]:
    """Require that the body raises nothing and leaves what it is `given` as it is.

    Args:
        text: the call and what it must return, such as "forward(latents) → (N, C, H, W)".
        given: what the component is handed, None among it.
        info: the data that the component is built for; None where these do not matter.

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
        told = "" if info is None else f", for data that `check_info` accepts ({info})"
        raise ConformanceError(f"{text}: it raises {type(error).__name__}: {first_line(error)}{told}") from error
    changed = any(not torch.equal(*both) for both in zip(before, tensors, strict=True))
    require(not changed, f"{text}: it changes in place what it is given; a first layer or operation is in place")


def small_options(entry: Entry, options: Mapping[str, Any] | None = None) -> Any:
    """Return a config of the component that is small enough to test quickly.

    Whole numbers called `width`, `dense_width`, `max_channels`, `hidden`, `latent_dim`, `count` or `image_size` shrink
    where the config lets them, and nothing is downloaded; a config that needs others has a class attribute
    `small_options`, a dictionary of them.

    Args:
        entry: the component.
        options: further ones, which take precedence.

    Raises:
        ConformanceError: the config refuses them.
    """
    small: dict[str, Any] = {}
    for name, field in entry.config.model_fields.items():
        if name in SMALL_VALUES and isinstance(field.default, int):
            small[name] = SMALL_VALUES[name] if name != "latent_dim" else min(SMALL_VALUES[name], field.default)
        elif name == "download":
            small[name] = False
    wanted = {**getattr(entry.config, "small_options", {}), **(options or {})}
    try:
        return entry.config(name=entry.name, **{**small, **wanted})
    except ValidationError as error:
        refused = {str(each["loc"][0]) for each in error.errors() if each["loc"]}
    for name in {*refused, "latent_dim"}:  # options may be bound to it, such as the codes in a latent vector
        small.pop(name, None)
    try:
        return entry.config(name=entry.name, **{**small, **wanted})
    except ValidationError as error:
        told = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise ConformanceError(f"its config refuses the options of the check: {told}. {SMALL_OPTIONS}") from error


def small_info(config: ComponentConfig) -> DatasetInfo:
    """Return the first data that the config's `check_info` accepts, with conditions if it uses these.

    Images are tried before vectors, conditions of the samples' shape before others, and classes before attributes and
    continuous labels.

    Raises:
        ConformanceError: it accepts none.
    """
    reasons = []
    for samples in (*IMAGES, *VECTORS):
        others = (spec for spec in (*VECTORS, *IMAGES) if spec != samples)
        for condition in (samples, *others) if "condition" in config.uses else (None,):
            for labels in LABELS:
                info = DatasetInfo(samples, labels, condition)
                try:
                    config.check_info(info)
                    if isinstance(config, TrainerConfig):
                        for role in config.roles:
                            config.info_for(role, info)
                except ValueError as error:
                    reasons.append(str(error))
                else:
                    return info
    raise ConformanceError(
        f"`check_info` accepts neither images of {SIZES} pixels, gray or color, nor vectors of {LENGTHS} numbers, with "
        f"labels of any kind: {reasons[0]}"
    )


def generator_of_seed(seed: int = 0) -> torch.Generator:
    """Return a random number generator on the CPU."""
    return torch.Generator().manual_seed(seed)


def samples_for(info: DatasetInfo, count: int = BATCH, seed: int = 1) -> Tensor:
    """Draw samples (count, …) in [−1, 1]."""
    return _drawn(info.samples, count, seed)


def labels_for(info: DatasetInfo, count: int = BATCH) -> Tensor | None:
    """Return labels of the kind that `info` has: class indices (count,), or attributes or values (count, K)."""
    if info.labels is None:
        return None
    if info.labels.kind == "classes":
        return torch.arange(count) % info.num_classes
    values = torch.rand(count, len(info.labels.names), generator=generator_of_seed(3)) * 2 - 1
    return values if info.labels.kind == "continuous" else (values > 0).float()


def condition_for(info: DatasetInfo, count: int = BATCH, seed: int = 2) -> Tensor | None:
    """Draw conditions (count, …) in [−1, 1]; None where the data have none."""
    return None if info.condition is None else _drawn(info.condition, count, seed)


def _drawn(spec: Spec, count: int, seed: int) -> Tensor:
    return torch.rand(count, *spec.shape, generator=generator_of_seed(seed)) * 2 - 1


def inputs_for(network: Generator | Discriminator, info: DatasetInfo) -> dict[str, Tensor]:
    """Return the keywords that a network takes beside latents or samples."""
    return network.inputs(labels_for(info), condition_for(info))


def seeded(build: Callable[[], Any], seed: int = 0) -> Any:
    """Call `build` with seeded global generators, which are restored afterwards.

    Where it changes the state of Python's or NumPy's, it is called once more from another one, to tell whether it drew.

    Raises:
        ConformanceError: it seeds them itself.
    """
    seeds = "seeds {} global generator, so that every run of it starts alike: leave out {}, or draw from {} of your own"
    with kept_random_state():
        before = _seed_all(seed, ODD_SEED)
        built = build()
        require(torch.initial_seed() == seed, seeds.format("torch's", "manual_seed", "a torch.Generator"))
        after = _global_states()
        if after != before:
            _seed_all(seed, ODD_SEED + 1)
            build()
        again = _global_states()
        for whose, own in (("Python's", "a random.Random"), ("NumPy's", "a numpy.random.Generator")):
            unseeded = after[whose] == before[whose] or again[whose] != after[whose]
            require(unseeded, seeds.format(whose, "seed", own))
        return built


def _seed_all(seed: int, others: int) -> dict[str, str]:
    """Seed torch's global generator, and Python's and NumPy's with another number; return the state of these."""
    torch.manual_seed(seed)
    random.seed(others)
    np.random.seed(others)
    return _global_states()


def _global_states() -> dict[str, str]:
    return {"Python's": repr(random.getstate()), "NumPy's": repr(np.random.get_state())}


def takes_schedule(annotation: Any) -> bool:
    """Return whether an option of this type takes a schedule, or several values that do."""
    if isinstance(annotation, type) and issubclass(annotation, Schedule):
        return True
    return any(map(takes_schedule, get_args(annotation)))


class TinyGeneratorConfig(GeneratorConfig):
    """Options of the tiny generator."""

    latent_dim: int = LATENT_DIM
    conditional: bool = False
    """Whether it takes a condition."""

    @property
    def uses(self) -> frozenset[str]:
        """The condition, if it takes one."""
        return frozenset({"condition"} if self.conditional else ())


class TinyGenerator(Generator):
    """Two dense layers on latents and any condition, to test penalties, losses and trainers with."""

    def __init__(self, config: GeneratorConfig, *, info: DatasetInfo) -> None:
        super().__init__(config, info=info)
        given = prod(info.condition.shape) if "condition" in self.uses and info.condition is not None else 0
        self.dense = nn.Sequential(nn.Linear(config.latent_dim + given, 8), nn.Linear(8, prod(info.samples.shape)))

    def forward(self, latents: Tensor, *, condition: Tensor | None = None) -> Tensor:
        """Return samples (N, …) in [−1, 1]."""
        given = latents if condition is None else torch.cat([latents, condition.flatten(1)], 1)
        samples: Tensor = self.dense(given).tanh()
        return samples.reshape(-1, *self.info.samples.shape)


class TinyDiscriminatorConfig(DiscriminatorConfig):
    """Options of the tiny discriminator."""

    conditional: bool = False
    """Whether it takes a condition."""

    @property
    def uses(self) -> frozenset[str]:
        """The condition, if it takes one."""
        return frozenset({"condition"} if self.conditional else ())


class TinyDiscriminator(Discriminator):
    """Two convolutions, or dense layers for vectors, and a dense layer on their outputs and any condition."""

    def __init__(self, config: DiscriminatorConfig, *, info: DatasetInfo) -> None:
        super().__init__(config, info=info)
        layers: list[nn.Module] = [nn.Linear(prod(info.samples.shape), 4), nn.Linear(4, 8)]
        if isinstance(info.samples, ImageSpec):
            layers = [nn.Conv2d(info.samples.channels, 4, 4, 2, 1), nn.Conv2d(4, 8, 4, 2, 1)]
        self.layers = nn.ModuleList(layers)
        if "condition" in self.uses and info.condition is not None:
            self.condition = nn.Linear(prod(info.condition.shape), 8)
        self.head = nn.Linear(8, 1)

    def forward(self, samples: Tensor, *, condition: Tensor | None = None) -> Tensor:
        """Return logits (N,)."""
        last = self.features(samples)[-1]
        seen = last.reshape(*last.shape[:2], -1).mean(2)
        if condition is not None:
            seen = seen * self.condition(condition.flatten(1))
        logits: Tensor = self.head(seen)
        return logits.flatten()

    def features(self, samples: Tensor) -> list[Tensor]:
        """Return the outputs of both layers."""
        maps: list[Tensor] = []
        for layer in self.layers:
            maps.append(torch.nn.functional.softplus(layer(maps[-1] if maps else samples)))
        return maps


def tiny_networks(size: int = 16) -> tuple[Generator, Discriminator]:
    """Return a generator and a discriminator of a few thousand parameters, for images of some size."""
    info = DatasetInfo(ImageSpec(3, size, size), LabelSpec.classes(CLASSES))
    return tiny_generator(info), tiny_discriminator(info)


def tiny_generator(info: DatasetInfo, latent_dim: int = LATENT_DIM) -> Generator:
    """Return a generator of a few thousand parameters: of latents, or of a condition alone if the data have one."""
    conditional = info.condition is not None
    config = TinyGeneratorConfig(latent_dim=0 if conditional else latent_dim, conditional=conditional)
    network: Generator = seeded(lambda: TinyGenerator(config, info=info))
    return network


def tiny_discriminator(info: DatasetInfo, conditional: bool = True) -> Discriminator:
    """Return a discriminator of a few hundred parameters, which takes a condition if the data have one.

    Args:
        info: the data.
        conditional: False for one that takes none.
    """
    config = TinyDiscriminatorConfig(conditional=conditional and info.condition is not None)
    network: Discriminator = seeded(lambda: TinyDiscriminator(config, info=info), 1)
    return network
