"""Networks small enough to compute by hand, and torch kept to one thread: the tensors are small."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ganzoo.components.network import Discriminator, Generator
from ganzoo.components.options import DiscriminatorConfig, GeneratorConfig
from ganzoo.components.penalty import PenaltyStep
from ganzoo.components.spec import DatasetInfo, ImageSpec
from ganzoo.registry.plugin_manager import PluginManager, plugin_manager

FACTS = DatasetInfo(ImageSpec(3, 8, 8))
DIM = 3 * 8 * 8


torch.set_num_threads(1)  # the tensors are small: threads would mostly wait for each other


class Reshaping(Generator):
    """G(z) = a·z, as an image."""

    def __init__(self) -> None:
        super().__init__(GeneratorConfig(latent_dim=DIM), info=FACTS)
        self.a = nn.Parameter(torch.tensor(0.7))

    def forward(self, latents: Tensor) -> Tensor:
        return (self.a * latents).reshape(-1, 3, 8, 8)


class Quadratic(Discriminator):
    """D(x) = b/2 · ‖x‖², whose gradient is b·x; its features are x and b·x."""

    def __init__(self) -> None:
        super().__init__(DiscriminatorConfig(), info=FACTS)
        self.b = nn.Parameter(torch.tensor(1.5))

    def forward(self, images: Tensor) -> Tensor:
        return self.b / 2 * images.square().flatten(1).sum(1)

    def features(self, images: Tensor) -> list[Tensor]:
        return [images, self.b * images]


def draw(seed: int, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def step_of(real: Tensor | None = None, *, detach: bool = False) -> PenaltyStep:
    """A step of six images with real and generated logits; the random numbers start from 3."""
    generator, discriminator = Reshaping(), Quadratic()
    real = draw(1, 6, 3, 8, 8) if real is None else real
    latents = draw(2, len(real), DIM)
    fake = generator(latents)
    return PenaltyStep(
        generator=generator,
        discriminator=discriminator,
        real=real,
        fake=fake.detach() if detach else fake,
        unaugmented_real=real,
        unaugmented_fake=fake.detach() if detach else fake,
        latents=latents,
        labels=None,
        condition=None,
        real_logits=discriminator(real),
        fake_logits=discriminator(fake),
        rng=torch.Generator().manual_seed(3),
    )


@pytest.fixture
def step() -> Callable[..., PenaltyStep]:
    return step_of


@pytest.fixture
def manager() -> PluginManager:
    return plugin_manager()


@pytest.fixture
def make(manager: PluginManager) -> Callable[..., Any]:
    """Build a loss or penalty as a recipe does: `make("dragan", weight=2.0)`."""

    def build(name: str, **options: Any) -> Any:
        registries = manager.registries
        registry: Any = registries.losses if name in registries.losses else registries.penalties
        entry = registry[name]
        return entry.load()(entry.config(name=name, **options), info=FACTS)

    return build
