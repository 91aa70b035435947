"""A plugin's datasets, as an author writes them: vectors; trained, resumed and refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ganzoo
from ganzoo.data.packed_dataset import PackedDataset
from ganzoo.data.prepare import prepare
from ganzoo.errors import GanzooError
from ganzoo.recipe.load import load_recipe
from ganzoo.registry.plugin_manager import plugin_manager
from ganzoo.sampling.image_io import grid

RING = """import math
from collections.abc import Sequence

import numpy as np
from ganzoo.plugin import Dataset, LabelSpec, Registrar, SampleSource, VectorDatasetConfig, hookimpl


class RingConfig(VectorDatasetConfig):
    '''Eight Gaussians on a circle of radius 2.'''

    count: int = 10_000
    '''How many points.'''


class Ring(Dataset):
    '''Points of two dimensions; the Gaussian tells the class.'''

    Config = RingConfig
    config: RingConfig

    def fingerprint(self) -> Sequence[object]:
        return ()

    def labels(self) -> LabelSpec | None:
        return LabelSpec.classes("01234567")

    def open(self) -> SampleSource:
        noise = np.random.default_rng(0).normal(scale=0.02, size=(self.config.count, 2))
        angles = [2 * math.pi * (index % 8) / 8 for index in range(self.config.count)]
        points = 2 * np.stack([np.cos(angles), np.sin(angles)], axis=1) + noise
        return [(point, index % 8) for index, point in enumerate(points)]


@hookimpl
def register_datasets(register: Registrar) -> None:
    register("circle", Ring)
"""

NETWORKS = """
from torch import nn
from ganzoo.plugin import Discriminator, Generator, hookimpl


class G(Generator):
    def __init__(self, config, *, info):
        super().__init__(config, info=info)
        self.net = nn.Sequential(nn.Linear(config.latent_dim, 16), nn.ReLU(), nn.Linear(16, info.samples.size))

    def forward(self, latents):
        return self.net(latents)


class D(Discriminator):
    def __init__(self, config, *, info):
        super().__init__(config, info=info)
        self.first, self.last = nn.Linear(info.samples.size, 16), nn.Linear(16, 1)

    def forward(self, samples):
        return self.last(self.features(samples)[0]).flatten()

    def features(self, samples):
        return [self.first(samples).relu()]


@hookimpl
def register_architectures(register):
    register("points", G)
    register("points", D)
"""


@pytest.fixture
def tables(tmp_path: Path) -> dict[str, Any]:
    for name, text in (("circle.py", RING), ("points.py", NETWORKS)):
        (tmp_path / name).write_text(text)
    return {
        "run": {"name": "circle", "steps": 4, "log_every": 1, "root": str(tmp_path / "runs")},
        "plugins": {"files": [str(tmp_path / "circle.py"), str(tmp_path / "points.py")]},
        "dataset": {"name": "circle", "count": 64},
        "generator": {"name": "points", "latent_dim": 2},
        "discriminator": {"name": "points"},
        "loss": {"name": "non_saturating"},
        "trainer": {"name": "adversarial", "batch_size": 16},
        "device": {"accelerator": "cpu", "precision": "fp32"},
        "checkpoint": {"every": 2, "keep": 9},
        "tracking": {"wandb": {"mode": "disabled"}},
    }


def test_a_ring_of_gaussians_trains_and_resumes_to_the_bit(tables: dict[str, Any], monkeypatch: pytest.MonkeyPatch):
    whole = ganzoo.run(tables)
    assert whole.sample(3).shape == (3, 2)
    assert whole.checkpoint.info.class_names == tuple("01234567")
    assert (whole.directory.samples / "step_0000004.png").is_file()
    part = ganzoo.run(tables | {"run": tables["run"] | {"steps": 2}})
    monkeypatch.setenv("GANZOO_TRUST_PLUGINS", "1")
    resumed = ganzoo.resume(part.path, {"run.steps": 4})
    assert (resumed.sample(8) == whole.sample(8)).all()
    with pytest.raises(GanzooError, match="needs images, and the samples are vectors of 2 numbers"):
        _ = whole.checkpoint.info.image
    with pytest.raises(GanzooError, match="a grid needs images, and each sample is 2 numbers"):
        grid(whole.sample(4))


def test_networks_for_images_refuse_vectors(tables: dict[str, Any]):
    tables["generator"] = {"name": "dcgan"}
    with pytest.raises(GanzooError, match='generator: "dcgan" needs images, and the samples are vectors of 2 numbers'):
        ganzoo.run(tables)


def test_a_dataset_whose_file_was_edited_is_packed_again(tables: dict[str, Any], tmp_path: Path):
    """Its name, options and fingerprint stay as they are: only the code of `open` changes."""

    def packed() -> PackedDataset:
        return prepare(*load_recipe(tables, plugin_manager()))

    first = packed()
    assert np.linalg.norm(first.images, axis=1).mean() == pytest.approx(2, abs=0.02)
    assert packed().path == first.path, "nothing has changed"
    (tmp_path / "circle.py").write_text(RING.replace("2 * np.stack", "3 * np.stack"))
    second = packed()
    assert np.linalg.norm(second.images, axis=1).mean() == pytest.approx(3, abs=0.02)
    (tmp_path / "circle.py").write_text(RING)
    assert packed().path == first.path, "a run that trains on them meanwhile goes on"
