"""The probe: features as the paper pools them, fair parts, the same figures for the same seed."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ganzoo_analysis import linear_probe, network_analysis
from ganzoo_analysis.linear_probe import PENALTIES, ProbeScore, layer_shapes, pooled_features, probe, score, split
from PIL import Image
from sklearn.svm import LinearSVC
from torch import Tensor

from ganzoo import api
from ganzoo.components.network import Discriminator
from ganzoo.components.options import DiscriminatorConfig
from ganzoo.components.spec import DatasetInfo, ImageSpec, LabelSpec
from ganzoo.data.packed_dataset import PackedDataset
from ganzoo.errors import DataError, RecipeError, RequestError
from ganzoo.sampling.trained_run import TrainedRun

FACTS = DatasetInfo(ImageSpec(1, 8, 8), LabelSpec.classes(("dark", "bright", "middle")))


class Looks(Discriminator):
    """Tells brightness where it is `clever`; where it is not, all images look alike but for noise."""

    def __init__(self, clever: bool) -> None:
        super().__init__(DiscriminatorConfig(), info=FACTS)
        self.clever = clever
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def forward(self, images: Tensor) -> Tensor:
        return images.mean((1, 2, 3))

    def features(self, images: Tensor) -> list[Tensor]:
        mean = images.mean((2, 3), keepdim=True)
        shown = torch.cat([mean, mean.square(), 1 - mean], 1) if self.clever else 0 * images[:, :, :2, :2]
        return [shown.expand(-1, -1, 2, 2), shown[:, :, 0, 0]]


def made_up(count: int = 240, labeled: bool = True) -> PackedDataset:
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 3
    brightness = np.array([40, 200, 120])[labels][:, None, None, None]
    images = (brightness + rng.integers(-30, 30, (count, 8, 8, 1))).astype(np.uint8)
    info = FACTS if labeled else DatasetInfo(FACTS.image)
    return PackedDataset(images, labels if labeled else None, info, (), Path("nowhere"), "key")


def grainy() -> PackedDataset:
    """Images whose brightness is hard to see."""
    packed = made_up()
    grain = np.random.default_rng(2).integers(0, 200, packed.images.shape)
    return replace(packed, images=(packed.images // 8 + grain).astype(np.uint8))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tables_in: Callable[[Path], dict]) -> TrainedRun:
    return api.run(tables_in(tmp_path_factory.mktemp("trained")), ["run.steps=2"])


def test_good_features_beat_bad_ones():
    result = probe(Looks(True), Looks(False), made_up(), train=30, draws=2)
    scores = result["scores"]
    # Brightness alone, with C at most 0.01, separates the ends but hardly the middle; nothing separates nothing.
    assert scores["discriminator"]["accuracy"] > 0.6
    assert scores["random_weights"]["accuracy"] == pytest.approx(1 / 3, abs=0.1)
    assert scores["raw_pixels"]["accuracy"] > 0.6
    assert scores["discriminator"]["features"] == 3 * 4 + 3
    assert len(scores["discriminator"]["accuracies"]) == 2
    protocol = result["protocol"]
    assert (protocol["train_images"], protocol["validation_images"], protocol["test_images"]) == (30, 70, 140)
    assert protocol["layers"] == ["3×2×2 → 3×2×2", "3 → 3"]
    assert protocol["penalties"] == list(PENALTIES)


def test_same_seed_same_figures():
    first, again, other = (probe(Looks(True), Looks(False), made_up(), train=30, draws=2, seed=s) for s in (1, 1, 2))
    assert first == again
    assert first["scores"]["raw_pixels"]["accuracies"] != other["scores"]["raw_pixels"]["accuracies"]


def test_parts_are_balanced_and_apart():
    packed = made_up()
    draws = list(split(packed, train=32, draws=3, seed=0))
    for draw in draws:
        assert packed.labels is not None
        assert np.bincount(packed.labels[draw.train]).tolist() == [10, 10, 10]
        together = torch.cat([draw.train, draw.validation, draw.test])
        assert together.sort().values.equal(torch.arange(240))
    assert not draws[0].train.sort().values.equal(draws[1].train.sort().values)


def test_the_accuracy_is_that_of_a_machine_fitted_plainly():
    """The shortcut through the span of the training images gives the same as LinearSVC on the features."""
    packed = made_up()
    draws = list(split(packed, train=30, draws=2, seed=0))
    pixels = torch.from_numpy(packed.images).flatten(1).float() / 127.5 - 1
    found = score(lambda images: images.flatten(1), packed, draws, 0, [0.01])
    assert packed.labels is not None
    expected = []
    for draw in draws:
        machine = LinearSVC(C=0.01, random_state=0).fit(pixels[draw.train].numpy(), packed.labels[draw.train])
        expected.append(machine.score(pixels[draw.test].numpy(), packed.labels[draw.test]))
    assert found.accuracies == pytest.approx(expected)
    assert found.accuracy == pytest.approx(np.mean(expected))
    assert found.deviation == pytest.approx(np.std(expected, ddof=1))
    assert found.features == 64
    assert found.at_edge
    assert found.converged


def test_pooling_as_in_the_paper(trained: TrainedRun):
    images = torch.rand(3, 3, 16, 16) * 2 - 1
    with torch.no_grad():
        maps = trained.discriminator.features(images)
    assert [tuple(one.shape[1:]) for one in maps] == [(4, 8, 8), (8, 4, 4)]
    expected = torch.cat([maps[0].unfold(2, 2, 2).unfold(3, 2, 2).amax((4, 5)).flatten(1), maps[1].flatten(1)], 1)
    torch.testing.assert_close(pooled_features(trained.discriminator, images), expected)
    assert layer_shapes(trained.discriminator) == ["4×8×8 → 4×4×4", "8×4×4 → 8×4×4"]


def test_of_a_run(trained: TrainedRun):
    state = torch.get_rng_state()
    before = {name: value.clone() for name, value in trained.discriminator.state_dict().items()}
    result = network_analysis.probe(trained, overrides=["dataset.num_classes=2", "dataset.count=60"], train=20, draws=2)
    assert result["protocol"]["dataset"]["num_classes"] == 2
    assert result["protocol"]["step"] == 2
    assert (trained.path / "probe.json").is_file()
    assert all(0 <= kind["accuracy"] <= 1 for kind in result["scores"].values())
    assert torch.get_rng_state().equal(state)
    assert all(value.equal(before[name]) for name, value in trained.discriminator.state_dict().items())


def test_another_dataset_at_the_size_of_the_run(trained: TrainedRun):
    result = network_analysis.probe(trained, dataset="digits", train=20, draws=1)
    assert result["protocol"]["dataset"]["name"] == "digits"
    assert result["protocol"]["classes"] == 10
    assert result["scores"]["discriminator"]["deviation"] == 0


def test_unlabeled(trained: TrainedRun, tmp_path: Path):
    for number in range(3):
        Image.new("RGB", (16, 16), (number, 0, 0)).save(tmp_path / f"{number}.png")
    with pytest.raises(DataError, match="the dataset has no labels"):
        network_analysis.probe(trained, dataset="image_folder", overrides=[f"dataset.root={tmp_path}"])
    with pytest.raises(DataError, match="the dataset has no labels"):
        probe(Looks(True), Looks(False), made_up(labeled=False))


def test_impossible(trained: TrainedRun):
    with pytest.raises(RequestError, match=r"trainer\.batch_size: only options of the dataset"):
        network_analysis.probe(trained, overrides=["trainer.batch_size=3"])
    with pytest.raises(RequestError, match="3×32×32, and the discriminator judges 3×16×16"):
        network_analysis.probe(trained, overrides=["dataset.image_size=32"])
    with pytest.raises(RecipeError, match="dataset"):
        network_analysis.probe(trained, dataset="nonsense")
    with pytest.raises(RequestError, match="2 labeled images over 3 classes"):
        probe(Looks(True), Looks(False), made_up(), train=2)
    with pytest.raises(RequestError, match='the dataset has 240, 80 of them of class "dark"'):
        probe(Looks(True), Looks(False), made_up(), train=240)
    with pytest.raises(RequestError, match="0 draws"):
        probe(Looks(True), Looks(False), made_up(), train=30, draws=0)


def test_c_is_that_of_the_best_mean_on_the_validation_images():
    """Where another one is the best on the test images, and each draw by itself might choose otherwise."""
    packed, penalties = grainy(), [1e-4, 1e-3, 1e-2]
    draws = list(split(packed, train=30, draws=2, seed=0))
    pixels, labels = torch.from_numpy(packed.images).flatten(1).numpy() / 127.5 - 1, packed.labels
    assert labels is not None
    machines = [
        [LinearSVC(C=c, random_state=0, max_iter=5000).fit(pixels[draw.train], labels[draw.train]) for c in penalties]
        for draw in draws
    ]
    validation, test = (
        np.array(
            [
                [machine.score(pixels[getattr(draw, part)], labels[getattr(draw, part)]) for machine in row]
                for draw, row in zip(draws, machines, strict=True)
            ]
        ).mean(0)
        for part in ("validation", "test")
    )
    assert (validation.argmax(), test.argmax(), validation.argmin()) == (1, 2, 2)
    found = score(lambda images: images.flatten(1), packed, draws, 0, penalties)
    assert (found.penalty, found.at_edge) == (1e-3, False)
    assert found.validation_accuracy == pytest.approx(validation[1])
    assert found.accuracy == pytest.approx(test[1])
    assert score(lambda images: images.flatten(1), packed, draws, 0, penalties[:2]).at_edge


def test_every_fit_must_have_ended_by_itself(monkeypatch: pytest.MonkeyPatch):
    packed = grainy()
    draws = list(split(packed, train=30, draws=8, seed=0))
    pixels = torch.from_numpy(packed.images).flatten(1).numpy() / 127.5 - 1
    assert packed.labels is not None
    taken = [
        LinearSVC(C=0.01, random_state=0).fit(pixels[each.train], packed.labels[each.train]).n_iter_ for each in draws
    ]
    assert max(taken) > min(taken)
    for most, converged in ((max(taken) + 1, True), (max(taken), False)):
        monkeypatch.setattr(linear_probe, "ITERATIONS", most)
        assert score(lambda images: images.flatten(1), packed, draws, 0, [0.01]).converged is converged


def test_the_authors_values_of_c_are_tried_and_larger_ones_for_the_baselines(monkeypatch: pytest.MonkeyPatch):
    authors = [1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2]
    tried: list[list[float]] = []

    def noting(features: Any, packed: Any, parts: Any, seed: int, penalties: Any, *more: Any) -> ProbeScore:
        tried.append([*penalties])
        return score(features, packed, parts, seed, [0.01])

    monkeypatch.setattr(linear_probe, "score", noting)
    linear_probe.probe(Looks(True), Looks(False), made_up(), train=30, draws=1)
    wider = [*authors, 2e-2, 5e-2, 1e-1]
    assert tried == [authors, wider, wider]


def test_each_network_has_batch_norm_of_its_own_statistics(trained: TrainedRun):
    """Random weights too: their running statistics are not those of any image before."""
    random = copy.deepcopy(trained.discriminator)
    norms = [module for module in random.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert norms
    scores = []
    for mean in (0.0, 100.0):
        for norm in norms:
            norm.running_mean.fill_(mean)
        packed = trained.training_set()
        scores.append(probe(trained.discriminator, random, packed, train=20, draws=1)["scores"]["random_weights"])
        assert all(norm.running_mean.eq(mean).all() for norm in norms)
    assert scores[0] == scores[1]
