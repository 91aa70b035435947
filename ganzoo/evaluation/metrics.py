"""Which scores are taken of features or pixels, under which names, with what is worth knowing beside them."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, field
from typing import Any, cast

import torch
from torch import Tensor

from ganzoo.components.extractor import Extractor
from ganzoo.data.packed_dataset import PackedDataset, real_images
from ganzoo.evaluation import scores as of
from ganzoo.evaluation.memorization import COMPARED, memorization
from ganzoo.evaluation.real_features import chosen
from ganzoo.recipe.model import Metric

Settings = dict[str, int | float | str]


@dataclass
class Measured:
    """Scores by name, what is no score, the numbers that they depend on, and the seconds that each took."""

    scores: dict[str, float] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    settings: Settings = field(default_factory=dict)
    timings: dict[str, float] = field(default_factory=dict)

    def take(self, metric: str, found: Callable[[], dict[str, float]]) -> None:
        """Add what `found` gives, from a seed of its own, so that no score depends on which others are taken."""
        torch.manual_seed(0)
        start = time.perf_counter()
        self.scores |= found()
        self.timings[metric] = time.perf_counter() - start


def measure_features(
    extractor: Extractor, real: Tensor, fake: Tensor, metrics: Collection[Metric], device: torch.device
) -> Measured:
    """The scores of features (N, D), on the CPU; each name says the extractor.

    Args:
        extractor: that gave the features.
        real: of real images.
        fake: of samples.
        metrics: which to take.
        device: where sums over pairs are taken.
    """
    measured = Measured(settings=_settings(real, fake))
    label, place = extractor.label, device if device.type == "cuda" else torch.device("cpu")
    near = real.to(place), fake.to(place)

    def named(**values: float) -> dict[str, float]:
        names = {short: f"{short}_{label}" for short in values}
        return {extractor.score_names.get(names[short], names[short]): value for short, value in values.items()}

    def kernel() -> dict[str, float]:
        mean, deviation = of.kernel_distance(*near)
        measured.details["kernel_deviation"] = deviation
        return named(kd=mean)

    def precision_recall() -> dict[str, float]:
        return named(**dict(zip(("precision", "recall"), of.precision_recall(*near), strict=True)))

    def density_coverage() -> dict[str, float]:
        return named(**dict(zip(("density", "coverage"), of.density_coverage(*near), strict=True)))

    if "frechet" in metrics:
        measured.take("frechet", lambda: named(fd=of.frechet_distance(real, fake)))
    if "kernel" in metrics:
        measured.take("kernel", kernel)
    if "precision_recall" in metrics:
        measured.take("precision_recall", precision_recall)
    if "density_coverage" in metrics:
        measured.take("density_coverage", density_coverage)
    if "diversity" in metrics:
        measured.take("diversity", lambda: named(diversity=of.diversity(real, fake)))
    _measure_classes(extractor, real, fake, metrics, device, measured, named)
    measured.details |= {f"extractor_{name}": value for name, value in extractor.notes().items()}
    return measured


@torch.no_grad()
def _measure_classes(
    extractor: Extractor,
    real: Tensor,
    fake: Tensor,
    metrics: Collection[Metric],
    device: torch.device,
    measured: Measured,
    named: Callable[..., dict[str, float]],
) -> None:
    """The scores that ask a classifier, where the extractor is one."""
    logits = extractor.logits(fake.to(device))
    if logits is None:
        return
    if "inception_score" in metrics:
        measured.take("inception_score", lambda: named(**{"is": of.inception_score(logits)}))
    if "classes" in metrics and extractor.names_classes:

        def classes() -> dict[str, float]:
            seen = of.class_scores(logits)
            measured.details |= {
                "classes": logits.shape[1],
                "class_counts": seen.counts,
                "real_confidence": of.class_scores(cast("Tensor", extractor.logits(real.to(device)))).confidence,
            }
            return {"classes_covered": seen.covered, "balance": seen.balance, "confidence": seen.confidence}

        measured.take("classes", classes)


def measure_pixels(
    samples: Tensor,
    training: PackedDataset,
    unseen: PackedDataset | None,
    metrics: Collection[Metric],
    *,
    mirrored: bool,
) -> Measured:
    """The scores of pixels.

    Args:
        samples: (N, C, H, W) in [−1, 1].
        training: the images that are trained on.
        unseen: images of the same kind that are not.
        metrics: which to take.
        mirrored: whether training shows images mirrored too.
    """
    measured = Measured(settings={"images": min(COMPARED, len(samples))})
    if "memorization" in metrics:
        against = "training images, each against the others" if unseen is None else f"crc32:{unseen.checksum:08x}"
        measured.settings["unseen"] = against

        def copies() -> dict[str, float]:
            found = asdict(memorization(samples, training, unseen, mirrored=mirrored))
            scores = {"memorization": found.pop("nearer"), "copies": found.pop("copies")}
            measured.details["memorization"] = found
            return scores

        measured.take("memorization", copies)
    if "diversity" in metrics:
        real = real_images(training, chosen(training, of.SPREAD_IMAGES))
        measured.take("diversity", lambda: {"diversity": of.diversity(real, samples)})
    return measured


def _settings(real: Tensor, fake: Tensor) -> Settings:
    return {
        "kernel_subsets": of.SUBSETS,
        "kernel_subset_size": min(of.SUBSET_SIZE, len(real), len(fake)),
        "inception_score_parts": of.SPLITS,
        "precision_neighbors": of.PRECISION_NEIGHBORS,
        "density_neighbors": of.DENSITY_NEIGHBORS,
        "manifold_images": of.MANIFOLD_IMAGES,
        "diversity_images": of.SPREAD_IMAGES,
    }
