"""Computation of the chosen metrics on features or pixels, with the names of their scores."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, field
from typing import Any, cast

import torch
from torch import Tensor

from ganzoo.components.extractor import Extractor
from ganzoo.data.packed_dataset import PackedDataset, real_images
from ganzoo.evaluation import metric_functions as functions
from ganzoo.evaluation.memorization import COMPARED, memorization
from ganzoo.evaluation.real_features import reference_indices
from ganzoo.recipe.model import Metric

Settings = dict[str, int | float | str]


@dataclass
class MetricResults:
    """Scores by name, further details, the settings that scores depend on, and the seconds of each metric."""

    scores: dict[str, float] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    settings: Settings = field(default_factory=dict)
    timings: dict[str, float] = field(default_factory=dict)

    def add(self, metric: str, found: Callable[[], dict[str, float]]) -> None:
        """Add the scores that `found` returns, from a fixed seed, so that no score depends on the choice of others."""
        torch.manual_seed(0)
        start = time.perf_counter()
        self.scores |= found()
        self.timings[metric] = time.perf_counter() - start


def measure_features(
    extractor: Extractor, real: Tensor, fake: Tensor, metrics: Collection[Metric], device: torch.device
) -> MetricResults:
    """Compute the metrics of features (N, D), on the CPU, under names that include the extractor.

    Args:
        extractor: of the features.
        real: features of real images.
        fake: features of samples.
        metrics: the metrics to compute.
        device: for sums over pairs, where it is CUDA.
    """
    results = MetricResults(settings=_settings(real, fake))
    label, place = extractor.label, device if device.type == "cuda" else torch.device("cpu")
    near = real.to(place), fake.to(place)

    def named(**values: float) -> dict[str, float]:
        names = {short: f"{short}_{label}" for short in values}
        return {extractor.score_names.get(names[short], names[short]): value for short, value in values.items()}

    def kernel() -> dict[str, float]:
        mean, deviation = functions.kernel_distance(*near)
        results.details["kernel_deviation"] = deviation
        return named(kd=mean)

    def precision_recall() -> dict[str, float]:
        return named(**dict(zip(("precision", "recall"), functions.precision_recall(*near), strict=True)))

    def density_coverage() -> dict[str, float]:
        return named(**dict(zip(("density", "coverage"), functions.density_coverage(*near), strict=True)))

    if "frechet" in metrics:
        results.add("frechet", lambda: named(fd=functions.frechet_distance(real, fake)))
    if "kernel" in metrics:
        results.add("kernel", kernel)
    if "precision_recall" in metrics:
        results.add("precision_recall", precision_recall)
    if "density_coverage" in metrics:
        results.add("density_coverage", density_coverage)
    if "diversity" in metrics:
        results.add("diversity", lambda: named(diversity=functions.diversity(real, fake)))
    _measure_classes(extractor, real, fake, metrics, device, results, named)
    results.details |= {f"extractor_{name}": value for name, value in extractor.notes().items()}
    return results


@torch.no_grad()
def _measure_classes(
    extractor: Extractor,
    real: Tensor,
    fake: Tensor,
    metrics: Collection[Metric],
    device: torch.device,
    results: MetricResults,
    named: Callable[..., dict[str, float]],
) -> None:
    """Add the metrics of class probabilities where the extractor is a classifier."""
    logits = extractor.logits(fake.to(device))
    if logits is None:
        return
    if "inception_score" in metrics:
        results.add("inception_score", lambda: named(**{"is": functions.inception_score(logits)}))
    if "classes" in metrics and extractor.names_classes:

        def classes() -> dict[str, float]:
            seen = functions.class_scores(logits)
            results.details |= {
                "classes": logits.shape[1],
                "class_counts": seen.counts,
                "real_confidence": functions.class_scores(cast("Tensor", extractor.logits(real.to(device)))).confidence,
            }
            return {"classes_covered": seen.covered, "balance": seen.balance, "confidence": seen.confidence}

        results.add("classes", classes)


def measure_pixels(
    samples: Tensor,
    training: PackedDataset,
    unseen: PackedDataset | None,
    metrics: Collection[Metric],
    *,
    mirrored: bool,
) -> MetricResults:
    """Compute the metrics of pixels.

    Args:
        samples: (N, C, H, W) in [−1, 1].
        training: the images that are trained on.
        unseen: images of the same kind that are not.
        metrics: the metrics to compute.
        mirrored: whether images are also mirrored in training.
    """
    results = MetricResults(settings={"images": min(COMPARED, len(samples))})
    if "memorization" in metrics:
        against = "training images, each against the others" if unseen is None else f"crc32:{unseen.checksum:08x}"
        results.settings["unseen"] = against

        def copies() -> dict[str, float]:
            found = asdict(memorization(samples, training, unseen, mirrored=mirrored))
            scores = {"memorization": found.pop("nearer"), "copies": found.pop("copies")}
            results.details["memorization"] = found
            return scores

        results.add("memorization", copies)
    if "diversity" in metrics:
        real = real_images(training, reference_indices(training, functions.SPREAD_IMAGES))
        results.add("diversity", lambda: {"diversity": functions.diversity(real, samples)})
    return results


def _settings(real: Tensor, fake: Tensor) -> Settings:
    return {
        "kernel_subsets": functions.SUBSETS,
        "kernel_subset_size": min(functions.SUBSET_SIZE, len(real), len(fake)),
        "inception_score_parts": functions.SPLITS,
        "precision_neighbors": functions.PRECISION_NEIGHBORS,
        "density_neighbors": functions.DENSITY_NEIGHBORS,
        "manifold_images": functions.MANIFOLD_IMAGES,
        "diversity_images": functions.SPREAD_IMAGES,
    }
