"""A caller's random numbers go on as if ganzoo had not been called, and what it makes does not depend on them."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ganzoo_bench.measure import measure
from ganzoo_export import export_run
from torch import Tensor

import ganzoo
import ganzoo.errors
import ganzoo.plugin
from ganzoo.components.network import Generator
from ganzoo.components.options import GeneratorConfig
from ganzoo.data.prepare import examine
from ganzoo.registry.plugin_manager import PluginManager
from ganzoo.runtime.random_state import kept_random_state, seed_everything
from ganzoo.sampling.trained_run import TrainedRun

CALLS: dict[str, Callable[[TrainedRun, Path], Any]] = {
    "run": lambda trained, tmp_path: ganzoo.run(trained.recipe, {"run.root": str(tmp_path)}),
    "resume": lambda trained, tmp_path: ganzoo.resume(trained.path, {"run.steps": trained.checkpoint.step + 1}),
    "sample": lambda trained, tmp_path: trained.sample(2),
    "generator": lambda trained, tmp_path: trained.generator,
    "untrained": lambda trained, tmp_path: trained.untrained_discriminator(),
    "evaluate": lambda trained, tmp_path: ganzoo.evaluate(trained, 4, overrides={"evaluation.metrics": ["diversity"]}),
    "export": lambda trained, tmp_path: export_run(trained, tmp_path / "out"),
    "examine": lambda trained, tmp_path: examine(trained.recipe, trained.manager),
    "failing run": lambda trained, tmp_path: fail(trained, tmp_path),
}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory, tables_in: Callable[[Path], dict]) -> Path:
    return ganzoo.run(tables_in(tmp_path_factory.mktemp("trained")), {"run.steps": 2}).path


class Failing:
    """Ends a run in its first step."""

    @ganzoo.plugin.hookimpl
    def step_ended(self) -> None:
        raise ganzoo.errors.TrainingError("enough")


def fail(trained: TrainedRun, root: Path) -> None:
    with pytest.raises(ganzoo.errors.TrainingError):
        ganzoo.run(trained.recipe, {"run.root": str(root)}, observers=[Failing()])


def state() -> list[Any]:
    numpy = np.random.get_state()
    return [random.getstate(), numpy[1].tolist(), *numpy[2:], torch.get_rng_state().tolist()]


@pytest.mark.parametrize("call", CALLS)
def test_the_callers_random_numbers_stay_as_they_were(path: Path, tmp_path: Path, call: str):
    trained = ganzoo.load_run(path)
    seed_everything(99)
    before = state()
    CALLS[call](trained, tmp_path)
    assert state() == before


@pytest.mark.slow
def test_a_measurement_leaves_them_too(tables: dict, recipe_file: Callable[[dict], Path]):
    seed_everything(99)
    before = state()
    measure(recipe_file(tables), rounds=2, steps=1)
    assert state() == before


def test_a_random_search_tries_another_value_each_time(tables: dict):
    tried = []
    for _ in range(3):
        tried.append((random.random(), np.random.rand(), torch.rand(()).item()))
        ganzoo.run(tables, {"run.steps": 1})
    assert len({each[0] for each in tried}) == len({each[1] for each in tried}) == len({each[2] for each in tried}) == 3


class NoisyGenerator(Generator):
    """Draws noise of its own from every global generator."""

    Config = GeneratorConfig

    def __init__(self, config: GeneratorConfig, *, info: Any) -> None:
        super().__init__(config, info=info)
        self.weight = torch.nn.Parameter(torch.ones(()))

    def forward(self, latents: Tensor) -> Tensor:
        noise = torch.rand(len(latents), 1, 16, 16) + random.random() + np.random.rand()
        return self.weight * noise.expand(-1, 3, -1, -1)


@pytest.fixture
def noisy(tables: dict) -> tuple[dict, PluginManager]:
    manager = PluginManager()
    manager.registries.generators.register("noisy", NoisyGenerator, GeneratorConfig, "tests")
    return {**tables, "generator": {"name": "noisy", "latent_dim": 4}}, manager


def test_noise_of_a_generator_follows_from_the_seed(noisy: tuple[dict, PluginManager]):
    tables, manager = noisy
    trained = ganzoo.run(tables, {"run.steps": 1}, manager=manager)
    first = trained.sample(2, seed=3)
    seed_everything(99)
    assert torch.equal(trained.sample(2, seed=3), first)
    assert not torch.equal(trained.sample(2, seed=4), first)


def test_how_often_samples_are_made_does_not_change_the_training(noisy: tuple[dict, PluginManager]):
    tables, manager = noisy
    runs = [ganzoo.run(tables, {"samples.every": every}, manager=manager) for every in (1, 6)]
    assert runs[0].metrics[-1]["loss/generator"] == runs[1].metrics[-1]["loss/generator"]


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_the_generators_of_every_gpu_too(path: Path, tables: dict):
    trained = ganzoo.load_run(path, accelerator="cuda")
    torch.rand((), device="cuda")
    before = torch.cuda.get_rng_state_all()
    trained.sample(2)
    ganzoo.run(tables, {"device.accelerator": "cuda", "run.steps": 1})
    assert all(torch.equal(*pair) for pair in zip(before, torch.cuda.get_rng_state_all(), strict=True))


def test_cuda_that_is_first_used_inside_goes_on_from_the_callers_seed(monkeypatch: pytest.MonkeyPatch):
    seeds: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeds.append)
    torch.manual_seed(11)
    with kept_random_state():
        torch.manual_seed(5)
    assert seeds[-1] == 11
