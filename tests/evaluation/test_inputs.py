"""What metrics are given: which samples, of which weights and size, and what is said of the real images."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from image_folders import put
from torchvision.transforms.functional import resize

from ganzoo import api
from ganzoo.components.metric import Metric, MetricInputs
from ganzoo.errors import RequestError, RunDirectoryError
from ganzoo.evaluation import evaluator
from ganzoo.registry.hookspecs import hookimpl
from ganzoo.registry.plugin_manager import PluginManager
from ganzoo.registry.registry import Registrar
from ganzoo.sampling.trained_run import TrainedRun

Tables = dict[str, Any]


class Recording(Metric):
    """Keeps what it was given."""

    needs = frozenset({"pixels"})
    directions: ClassVar = {}
    given: list[MetricInputs]

    def compute(self, inputs: MetricInputs) -> dict[str, float]:
        self.given.append(inputs)
        return {}


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[MetricInputs]:
    monkeypatch.setattr(Recording, "given", [], raising=False)
    return Recording.given


@pytest.fixture
def run(tables: Tables) -> TrainedRun:
    class Metrics:
        @hookimpl
        def register_metrics(self, register: Registrar) -> None:
            register("recording", Recording)

    manager = PluginManager()
    manager._register(Metrics(), "mine (mine 1.0)")
    tables["trainer"]["ema_decay"] = 0.99
    tables["evaluation"] = {"metrics": ["recording"], "samples": 40}
    return api.run(tables, ["run.steps=3", "trainer.generator_optimizer.lr=0.02"], manager=manager)


@pytest.mark.parametrize("weights", ["ema", "raw"])
def test_samples_are_of_the_weights_and_the_seed_that_are_asked_for(
    run: TrainedRun, given: list[MetricInputs], weights: Any
):
    api.evaluate(run, weights=weights, seed=3)
    torch.testing.assert_close(given[0].fake, run.sample(40, seed=3, weights=weights), rtol=0, atol=1e-5)
    other = run.sample(40, seed=3, weights="raw" if weights == "ema" else "ema")
    assert (given[0].fake - other).abs().max() > 1e-3


def test_the_first_samples_are_kept(run: TrainedRun, given: list[MetricInputs], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(evaluator, "SAMPLES_KEPT", 10)
    api.evaluate(run, seed=3)
    torch.testing.assert_close(given[0].fake, run.sample(40, seed=3)[:10], rtol=0, atol=1e-5)
    assert len(given[0].real) == 10


def test_samples_are_made_smaller_with_an_antialiasing_filter(run: TrainedRun, given: list[MetricInputs]):
    api.evaluate(run, seed=3, image_size=6)
    smaller = resize(run.sample(40, seed=3), [6, 6], antialias=True)
    torch.testing.assert_close(given[0].fake, smaller, rtol=0, atol=1e-5)
    assert given[0].real.shape == (64, 3, 6, 6)


@pytest.mark.parametrize("flips", [True, False])
def test_metrics_know_whether_training_mirrors_its_images(run: TrainedRun, given: list[MetricInputs], flips: bool):
    api.evaluate(run, overrides={"dataset.horizontal_flip": flips})
    assert given[0].mirrored is flips


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda root: put(root, "d/0.png"), "its labels were 3 classes, and are 4 classes"),
        (lambda root: (root / "b").rename(root.parent / "b"), "its labels were 3 classes, and are 2 classes"),
        (lambda root: (root / "b").rename(root / "bee"), "its labels were b, and are bee"),
    ],
    ids=["more", "fewer", "renamed"],
)
def test_other_classes_than_those_of_a_conditional_generator_are_refused(
    tables: Tables, tmp_path: Path, change: Any, told: str
):
    """Its class 1 would be compared with another; one that takes no classes is scored against any."""
    put(tmp_path / "images", "a/0.png", "a/1.png", "b/2.png", "b/3.png", "c/4.png", "c/5.png")
    tables["dataset"] = {"name": "image_folder", "root": str(tmp_path / "images"), "image_size": 16}
    tables["evaluation"], tables["trainer"]["batch_size"] = {"metrics": ["diversity"], "samples": 4}, 4
    plain = api.run(tables, ["run.steps=1", "dataset.labels=folders"])
    tables["generator"] = {"name": "cgan", "width": 4, "latent_dim": 8}
    tables["discriminator"] = {"name": "cgan", "width": 4}
    run = api.run(tables, ["run.steps=1", "dataset.labels=folders"])
    change(tmp_path / "images")
    with pytest.raises(RequestError, match=f"{run.path}: the dataset has changed since: {told}; bring it back as it"):
        api.evaluate(run)
    assert not (run.path / "evaluation.json").exists()
    with pytest.raises(RunDirectoryError, match=f"{run.path}: the dataset has changed since: {told}; bring it back to"):
        api.resume(run.path, ["run.steps=2"])
    assert "diversity" in api.evaluate(plain).scores
