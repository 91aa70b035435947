"""Scores: 0 for identical sets, the closed form for known Gaussians, and the same as independent calculations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch
from ganzoo_metrics import configs, metrics
from ganzoo_metrics.classifier import classifier_for
from ganzoo_metrics.configs import ClassAccuracyConfig, DensityCoverageConfig, KernelConfig
from ganzoo_metrics.metrics import (
    Kernel,
    class_scores,
    density_coverage,
    diversity,
    frechet_distance,
    inception_score,
    kernel_distance,
    precision_recall,
)
from tiny_recipe import tiny_recipe
from torch import Tensor
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric

import ganzoo
from ganzoo.plugin import MetricInputs


def gaussian(count: int, size: int, seed: int) -> Tensor:
    return torch.randn(count, size, generator=torch.Generator().manual_seed(seed))


def whitened(features: Tensor) -> Tensor:
    """The same points moved and turned so that their mean is exactly 0 and their covariance exactly the identity."""
    centered = features.double() - features.double().mean(0)
    return centered @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(centered.T))).T


class TestFrechetDistance:
    def test_of_identical_sets_is_0(self):
        features = gaussian(300, 16, 0)
        assert frechet_distance(features, features) == pytest.approx(0, abs=1e-6)
        assert frechet_distance(features, features[torch.randperm(300)]) == pytest.approx(0, abs=1e-6)

    def test_is_the_closed_form_for_known_moments(self):
        """N(0, I) against N(m, diag(s²)): ‖m‖² + Σ(1 − s)², exactly, as the sets have just these moments."""
        mean, deviation = torch.linspace(-1, 2, 8).double(), torch.linspace(0.5, 3, 8).double()
        real, fake = whitened(gaussian(500, 8, 0)), whitened(gaussian(400, 8, 1)) * deviation + mean
        expected = float((mean**2).sum() + ((1 - deviation) ** 2).sum())
        assert frechet_distance(real, fake) == pytest.approx(expected, rel=1e-9)

    def test_is_that_of_scipy_and_of_torch_fidelity(self):
        mixing = gaussian(24, 24, 2)
        real, fake = gaussian(500, 24, 0) @ mixing, gaussian(400, 24, 1) @ mixing.T + 0.3
        a, b = real.double().numpy(), fake.double().numpy()
        product = np.cov(a, rowvar=False) @ np.cov(b, rowvar=False)
        root = scipy.linalg.sqrtm(product).real
        moved = ((a.mean(0) - b.mean(0)) ** 2).sum()
        by_scipy = moved + np.trace(np.cov(a, rowvar=False) + np.cov(b, rowvar=False) - 2 * root)
        by_fidelity = fid_statistics_to_metric(
            fid_features_to_statistics(real.double()), fid_features_to_statistics(fake.double()), False
        )["frechet_inception_distance"]
        assert frechet_distance(real, fake) == pytest.approx(by_scipy, rel=1e-6)
        assert frechet_distance(real, fake) == pytest.approx(by_fidelity, rel=1e-6)

    def test_goes_with_fewer_samples_than_features(self):
        assert frechet_distance(gaussian(20, 64, 0), gaussian(20, 64, 1)) > 0


class TestKernelDistance:
    def test_of_one_distribution_is_about_0(self):
        mean, deviation = kernel_distance(gaussian(2000, 16, 0), gaussian(2000, 16, 1))
        assert abs(mean) < 3 * deviation / KernelConfig().subsets ** 0.5 + 5e-3

    def test_is_the_plain_double_sum(self):
        """Where a subset is the whole set, it is the unbiased estimate over all pairs (arXiv 1801.01401, eq. 4)."""
        real, fake = gaussian(30, 4, 0).double(), gaussian(30, 4, 1).double() * 1.5 + 0.2

        def kernel(x: Tensor, y: Tensor) -> float:
            return float((x @ y / 4 + 1) ** 3)

        within = sum(kernel(s[i], s[j]) for s in (real, fake) for i in range(30) for j in range(30) if i != j)
        between = sum(kernel(x, y) for x in real for y in fake)
        expected = within / (30 * 29) - 2 * between / 30**2
        assert kernel_distance(real, fake)[0] == pytest.approx(expected, rel=1e-4)

    @pytest.mark.slow
    def test_is_that_of_torch_fidelity(self):
        real, fake = gaussian(1500, 16, 0), gaussian(1500, 16, 1) * 1.2
        torch.manual_seed(0)
        mean, deviation = kernel_distance(real, fake)
        theirs = kid_features_to_metric(
            fake, real, kid_subsets=100, kid_subset_size=1000, kid_kernel="poly", verbose=False
        )
        assert mean == pytest.approx(theirs["kernel_inception_distance_mean"], rel=0.05)
        assert deviation == pytest.approx(theirs["kernel_inception_distance_std"], rel=0.4)


class TestInceptionScore:
    def test_spans_from_one_to_the_number_of_classes(self):
        sure = torch.eye(10).repeat(1000, 1) * 100  # parts of 1,000 have almost even shares
        assert inception_score(sure) == pytest.approx(10, rel=0.02)
        assert inception_score(torch.zeros(1000, 10)) == pytest.approx(1, abs=1e-6)

    def test_is_that_of_torch_fidelity(self):
        logits = gaussian(5000, 10, 0) * 2
        torch.manual_seed(0)
        theirs = isc_features_to_metric(logits, 10, True, 0)
        assert inception_score(logits) == pytest.approx(theirs["inception_score_mean"], rel=2e-3)


def on_a_line(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)[:, None]


class TestManifolds:
    def test_of_identical_sets(self):
        features = gaussian(400, 8, 0)
        assert precision_recall(features, features) == (1, 1)
        density, coverage = density_coverage(features, features)
        assert (density, coverage) == (1, 1)  # in its own neighborhood and k − 1 others, not at their edges

    def test_density_and_coverage_are_those_of_the_definition(self):
        real, fake = gaussian(300, 6, 0).double(), gaussian(200, 6, 1).double() * 0.8
        radii = (real[:, None] - real).norm(dim=2).sort(1).values[:, 5]
        inside = (real[:, None] - fake).norm(dim=2) < radii[:, None]
        density, coverage = float(inside.sum()) / (5 * 200), float(inside.any(1).sum()) / 300
        assert density_coverage(real, fake) == pytest.approx((density, coverage), abs=1e-12)

    def test_the_edge_of_a_neighborhood_is_outside(self):
        """Radii 3, 2, 3, 6 as below: 13 and −3 lie at the edges of the fourth and the first, 9 in the fourth."""
        real = on_a_line(0, 1, 3, 7)
        assert density_coverage(real, on_a_line(13, -3), neighbors=2) == (0, 0)
        assert density_coverage(real, on_a_line(13, -3, 9), neighbors=2) == (pytest.approx(1 / 6), 1 / 4)

    def test_of_the_same_distribution(self):
        density, coverage = density_coverage(gaussian(2000, 8, 0), gaussian(2000, 8, 1))
        assert density == pytest.approx(1, abs=0.05)
        # Expected for equal sets: 1 − (1/2)^k (arXiv 2002.09797, eq. 9)
        assert coverage == pytest.approx(1 - 0.5 ** DensityCoverageConfig().neighbors, abs=0.02)

    def test_tell_missing_modes_from_bad_samples(self):
        real = torch.cat([gaussian(300, 4, 0), gaussian(300, 4, 1) + 50])
        dropped, wrong = gaussian(600, 4, 2), torch.cat([gaussian(300, 4, 3), gaussian(300, 4, 4) - 80])
        precision, recall = precision_recall(real, dropped)
        assert (precision > 0.9, 0.4 < recall < 0.51) == (True, True)
        assert density_coverage(real, dropped)[1] == pytest.approx(0.49, abs=0.03)
        precision, _ = precision_recall(real, wrong)
        assert precision == pytest.approx(0.48, abs=0.04)

    def test_counted_by_hand(self, monkeypatch: pytest.MonkeyPatch):
        """Real images at 0, 1, 3, 7 with two neighbors each: radii 3, 2, 3, 6."""
        monkeypatch.setattr(metrics, "BLOCK", 3)
        density, coverage = density_coverage(on_a_line(0, 1, 3, 7), on_a_line(-2.5, 5, 12), neighbors=2)
        # −2.5 lies in the first alone; 5 in the third and fourth; 12 in the fourth.
        assert (density, coverage) == (pytest.approx(4 / (2 * 3)), 3 / 4)

    def test_looks_at_so_many_at_most(self):
        real, fake = gaussian(100, 4, 0), gaussian(80, 4, 1)
        assert density_coverage(real, fake, images=50) == density_coverage(real[:50], fake[:50])
        assert precision_recall(real, fake, images=50) == precision_recall(real[:50], fake[:50])


class TestClasses:
    def test_counts_balance_and_cover(self):
        logits = torch.zeros(100, 4)
        logits[:50, 0], logits[50:99, 1], logits[99, 2] = 20, 20, 0.5
        seen = class_scores(logits)
        assert (seen.covered, seen.counts) == (2, [50, 49, 1, 0])  # the one image of the third class is a guess
        shares = np.array([0.5, 0.49, 0.01])
        assert seen.balance == pytest.approx(float(-(shares * np.log(shares)).sum() / np.log(4)))
        assert seen.confidence == pytest.approx(0.993, abs=0.01)

    def test_one_class_only(self):
        seen = class_scores(torch.tensor([[9.0, 0.0]]).repeat(10, 1))
        assert (seen.covered, seen.balance) == (1, 0)


class TestClassAccuracy:
    def compute(self, predicted: list[int], asked: Tensor | None) -> tuple[dict[str, float], dict[str, Any]]:
        logits = torch.eye(3)[predicted]
        inputs = MetricInputs("class_logits", logits, logits, training=None, labels=asked)  # type: ignore[arg-type]
        return metrics.ClassAccuracy(ClassAccuracyConfig(name="class_accuracy")).compute(inputs), inputs.details

    def test_is_the_share_that_is_of_the_class_asked_for(self):
        scores, details = self.compute([0, 1, 0, 1, 1], torch.tensor([0, 0, 0, 1, 1]))
        assert scores == {"class_accuracy": pytest.approx(4 / 5)}
        assert details == {"class_accuracies": [0.6667, 1.0, None]}  # nothing was asked to be of the third class

    def test_is_not_computed_of_samples_without_labels(self):
        assert self.compute([0, 1], None) == ({}, {})


def test_a_generator_is_scored_by_the_classes_that_it_was_asked_for(tmp_path: Path):
    networks = {"generator": {"name": "cgan", "latent_dim": 4}, "discriminator": {"name": "cgan"}}
    run = ganzoo.run(tiny_recipe(tmp_path, evaluation={"samples": 70, "metrics": ["class_accuracy"]}) | networks)
    found = ganzoo.evaluate(run)
    classes = torch.arange(70) % run.info.num_classes
    classifier = classifier_for(run.training_set()).network
    right = classifier(run.images(run.latents(70), classes)).argmax(1) == classes
    assert found.scores == {"class_accuracy": pytest.approx(float(right.double().mean()))}
    assert found.evaluations[0][0].directions == {"class_accuracy": "higher"}


def test_diversity_is_relative_to_the_real_images():
    real = gaussian(200, 12, 0).reshape(200, 3, 2, 2)
    assert diversity(real, real) == 1
    assert diversity(real, real * 0.25) == pytest.approx(0.25)
    assert diversity(real, real[:1].expand(50, -1, -1, -1)) == 0


def test_fewer_images_than_neighbors() -> None:
    real, fake = torch.randn(2, 20, 4, generator=torch.Generator().manual_seed(0)).unbind()
    assert all(0 <= value <= 1 for value in precision_recall(real, fake, neighbors=3, images=3))
    assert 0 <= density_coverage(real, fake, neighbors=5, images=2)[1] <= 1


def inputs_of(real: Tensor, fake: Tensor, source: Any = "features", **more: Any) -> MetricInputs:
    return MetricInputs(source, real, fake, **{"training": None, **more})


def test_precision_and_recall_by_hand():
    """Real images at 0, 1, 3, 7 with one neighbor each: radii 1, 1, 2, 4; samples at −2.5, 5, 12: 7.5, 7, 7."""
    options = configs.PrecisionRecallConfig(name="precision_recall", neighbors=1, images=4)
    inputs = inputs_of(on_a_line(0, 1, 3, 7, -2.5, 12), on_a_line(-2.5, 5, 12))
    # Of the samples, 5 alone lies near a real image; all of the first four real images lie near a sample.
    assert metrics.PrecisionRecall(options).compute(inputs) == {"precision": pytest.approx(1 / 3), "recall": 1}
    swapped = metrics.PrecisionRecall(options).compute(inputs_of(inputs.fake, inputs.real[:4]))
    assert swapped == {"precision": 1, "recall": pytest.approx(1 / 3)}


def test_density_and_coverage_by_hand():
    """Real images at 0, 1, 3, 7 with two neighbors each: radii 3, 2, 3, 6."""
    options = configs.DensityCoverageConfig(name="density_coverage", neighbors=2, images=4)
    inputs = inputs_of(on_a_line(0, 1, 3, 7, -2.5, 12), on_a_line(-2.5, 5, 12))
    found = metrics.DensityCoverage(options).compute(inputs)
    assert found == {"density": pytest.approx(4 / (2 * 3)), "coverage": 3 / 4}


def test_a_kernel_distance_is_over_so_many_subsets_of_such_a_size():
    inputs = inputs_of(gaussian(40, 4, 0), gaussian(40, 4, 1) + 1)
    torch.manual_seed(0)
    expected = kernel_distance(inputs.real, inputs.fake, subsets=3, subset_size=12)
    torch.manual_seed(0)
    found = Kernel(KernelConfig(name="kernel", subsets=3, subset_size=12)).compute(inputs)
    assert (found["kd"], inputs.details["kernel_deviation"]) == expected
    whole = Kernel(KernelConfig(name="kernel", subsets=5, subset_size=40))
    whole.compute(inputs)
    assert inputs.details["kernel_deviation"] == pytest.approx(0, abs=1e-5)  # each subset is the whole


def test_an_inception_score_is_of_the_samples_in_so_many_parts():
    """Of four classes in even shares: 4 as a whole, and 1 where each sample is a part."""
    sure = 100 * torch.eye(4)
    fake = sure[[0, 1, 2, 3]].repeat(5, 1)
    inputs = inputs_of(sure[:1].repeat(20, 1), fake, "logits")
    options = configs.InceptionScoreConfig(name="inception_score")
    whole = metrics.InceptionScore(options.model_copy(update={"splits": 1})).compute(inputs)
    assert whole == {"is": pytest.approx(4)}
    single = metrics.InceptionScore(options.model_copy(update={"splits": 20})).compute(inputs)
    assert single == {"is": pytest.approx(1)}


def test_the_metrics_have_the_papers_figures():
    kernel, inception = KernelConfig(), configs.InceptionScoreConfig()
    precision, density = configs.PrecisionRecallConfig(), DensityCoverageConfig()
    assert (kernel.subsets, kernel.subset_size, inception.splits) == (100, 1000, 10)
    assert (precision.neighbors, precision.images, density.neighbors, density.images) == (3, 10_000, 5, 10_000)


def test_a_class_is_covered_from_a_hundredth_of_its_even_share_on():
    """Of 1,000 samples and four classes: 2.5."""
    for count, covered in ((2, 3), (3, 4)):
        choice = torch.arange(1000) % 3
        choice[:count] = 3
        assert class_scores(100.0 * torch.eye(4)[choice]).covered == covered


def test_classes_are_those_of_the_samples_and_the_confidence_on_real_images_is_beside_them():
    fake, real = 100 * torch.eye(3)[[0, 0, 1, 1]], torch.zeros(4, 3)
    inputs = inputs_of(real, fake, "class_logits")
    found = metrics.ClassCoverage(configs.ClassCoverageConfig(name="class_coverage")).compute(inputs)
    balance = pytest.approx(float(np.log(2) / np.log(3)))
    assert found == {"classes_covered": 2, "balance": balance, "confidence": pytest.approx(1)}
    assert inputs.details == {"classes": 3, "class_counts": [2, 2, 0], "real_confidence": pytest.approx(1 / 3)}


@pytest.mark.parametrize("metric", [metrics.ClassCoverage, metrics.ClassAccuracy])
def test_a_classifier_that_does_not_find_the_classes_of_real_images_is_told(metric: type[metrics.StandardMetric]):
    """Else what it does not know seems to be missing among the samples."""
    known, all_classes = 100.0 * torch.eye(3)[torch.arange(200) % 2], 100.0 * torch.eye(3)[torch.arange(200) % 3]
    scored = metric(metric.Config(name="any"))
    told = scored.caveat(inputs_of(known, all_classes, "class_logits"))
    assert told == "among the real images themselves the classifier finds 2 of 3 classes"
    assert scored.caveat(inputs_of(all_classes, known, "class_logits")) == ""


def test_diversity_is_that_of_the_samples():
    real = gaussian(50, 4, 0)
    found = metrics.Diversity(configs.DiversityConfig(name="diversity")).compute(inputs_of(real, real / 4))
    assert found == {"diversity": pytest.approx(0.25)}
