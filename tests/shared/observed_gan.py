"""A GAN that is made and trained in a blink, to observe."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ganzoo.components.network import Discriminator, Generator
from ganzoo.components.options import DiscriminatorConfig, GeneratorConfig
from ganzoo.components.spec import DatasetInfo
from ganzoo.recipe.load import parse_recipe
from ganzoo.recipe.overrides import apply_overrides
from ganzoo.registry.plugin_manager import PluginManager
from ganzoo.training.build import build_run
from ganzoo.training.run import Run


class TinyGenerator(Generator):
    Config = GeneratorConfig

    def __init__(self, config: GeneratorConfig, *, info: DatasetInfo) -> None:
        super().__init__(config, info=info)
        self.layer = nn.Linear(config.latent_dim, 3 * info.image.height * info.image.width)
        self.norm = nn.BatchNorm2d(3)
        self.noise = 0.0

    def forward(self, latents: Tensor) -> Tensor:
        images = self.layer(latents).view(len(latents), *self.info.image.shape)
        return torch.tanh(self.norm(images) + self.noise * torch.randn_like(images))


class TinyDiscriminator(Discriminator):
    Config = DiscriminatorConfig

    def __init__(self, config: DiscriminatorConfig, *, info: DatasetInfo) -> None:
        super().__init__(config, info=info)
        self.layer = nn.Linear(3 * info.image.height * info.image.width, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(images.flatten(1)).flatten()

    def features(self, images: Tensor) -> list[Tensor]:
        return [images]


@pytest.fixture(autouse=True)
def surroundings(no_wandb_account: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No key, account or setting of the one who runs the tests, and no trace outside the test's folder."""
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path / "packs"))
    monkeypatch.chdir(tmp_path)


def tiny_manager() -> PluginManager:
    manager = PluginManager()
    manager.registries.generators.register("tiny", TinyGenerator, GeneratorConfig, "tests")
    manager.registries.discriminators.register("tiny", TinyDiscriminator, DiscriminatorConfig, "tests")
    return manager


def tiny_recipe() -> dict[str, Any]:
    return {
        "run": {"name": "tiny", "steps": 40, "log_every": 10},
        "device": {"accelerator": "cpu", "precision": "fp32"},
        "dataset": {"name": "synthetic", "count": 32, "image_size": 8},
        "generator": {"name": "tiny", "latent_dim": 4},
        "discriminator": {"name": "tiny"},
        "loss": {"name": "non_saturating"},
        "trainer": {"name": "adversarial", "batch_size": 8},
        "samples": {"count": 9, "every": 10},
        "tracking": {"wandb": {"mode": "disabled"}},
    }


manager = pytest.fixture(tiny_manager, name="manager")
tables = pytest.fixture(tiny_recipe, name="tables")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The networks are so small that threads would only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


BuildRun = Callable[..., Run]


@pytest.fixture
def build(manager: PluginManager, tables: dict[str, Any]) -> BuildRun:
    """Makes a run of the recipe with "path.to.key=value" set; what observers do wrong comes to light."""

    def refuse(warning: str) -> None:
        raise AssertionError(warning)

    def build(*overrides: str) -> Run:
        return build_run(parse_recipe(apply_overrides(tables, overrides), manager), manager, warn=refuse)

    return build
