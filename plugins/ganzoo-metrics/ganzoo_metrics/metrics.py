"""The metrics: distances, manifolds, classes, copies; by torchmetrics and torch-fidelity."""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ganzoo.plugin import Metric, MetricInputs
from ganzoo_metrics import configs
from ganzoo_metrics.memorization import COMPARED, NEAR, memorization

CONFIDENT = 0.5
"""Least probability with which a classifier counts as confident."""
COVERED = 0.01
"""Least number of confident samples of a covered class, as a share of an even split over the classes."""
BLOCK = 2048
SPREAD_IMAGES = 1000

NO_SYNC: dict[str, Any] = {"sync_on_compute": False}
"""Options without which torchmetrics waits for the other processes, of which only one evaluates."""


FEWEST = 100
"""Number of images below which means and shares over them are mostly chance."""


def too_few(inputs: MetricInputs, fewest: int = FEWEST, why: str = "its value is mostly chance") -> str:
    """Say that there are fewer samples or real images than `fewest`, and what that means; empty otherwise."""
    counts = {"samples": len(inputs.fake), "real images": len(inputs.real)}
    few = [f"{count:,} {what}" for what, count in counts.items() if count < fewest]
    return f"{' and '.join(few)}, fewer than {fewest:,}: {why}" if few else ""


class _Precomputed(nn.Module):
    """Passes precomputed features through, where torchmetrics expects a feature extractor."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.num_features = features

    def forward(self, features: Tensor) -> Tensor:
        return features


def frechet_distance(real: Tensor, fake: Tensor) -> float:
    """Return the Fréchet distance of Gaussians fitted to two sets of features (arXiv 1706.08500); 0 for equal sets."""
    from torchmetrics.image.fid import FrechetInceptionDistance

    metric = FrechetInceptionDistance(feature=_Precomputed(real.shape[1]), normalize=False, **NO_SYNC).set_dtype(
        torch.float64
    )
    metric.update(real.cpu().double(), real=True)
    metric.update(fake.cpu().double(), real=False)
    return float(metric.compute())


class StandardMetric(Metric):
    """A metric of this distribution: its card names the same libraries, and few images give a warning."""

    libraries = ("torchmetrics", "torch-fidelity")

    def caveat(self, inputs: MetricInputs) -> str:
        """Few images."""
        return too_few(inputs)


class Frechet(StandardMetric):
    """The Fréchet distance: FID where the extractor is Inception."""

    Config = configs.FrechetConfig
    needs = frozenset({"features"})
    directions: ClassVar = {"fd": "lower"}

    def compute(self, inputs: MetricInputs) -> dict[str, float]:
        """Return the distance."""
        return {"fd": frechet_distance(inputs.real, inputs.fake)}

    def caveat(self, inputs: MetricInputs) -> str:
        """Fewer images than features: their covariance has no full rank."""
        why = "there are as many features, so the value is too large; compare it only with scores of as many samples"
        return too_few(inputs, inputs.real.shape[1], why)


def kernel_distance(real: Tensor, fake: Tensor, subsets: int = 100, subset_size: int = 1000) -> tuple[float, float]:
    """Return the squared MMD with a cubic kernel (KID, arXiv 1801.01401): mean and standard deviation over subsets.

    Unbiased, so about 0 for the same distribution and sometimes below; the deviation's squares are divided by
    `subsets`. Uses torch's global generator.
    """
    from torchmetrics.image.kid import KernelInceptionDistance

    size = min(subset_size, len(real), len(fake))
    with warnings.catch_warnings(action="ignore"):  # about the memory for features, which is in use already
        metric = KernelInceptionDistance(
            feature=_Precomputed(real.shape[1]), subsets=subsets, subset_size=size, **NO_SYNC
        )
    metric = metric.to(real.device)
    metric.update(real.float(), real=True)
    metric.update(fake.float(), real=False)
    mean, deviation = metric.compute()
    return float(mean), float(deviation)


class Kernel(StandardMetric):
    """The kernel distance: KID where the extractor is Inception."""

    Config = configs.KernelConfig
    config: configs.KernelConfig
    needs = frozenset({"features"})
    directions: ClassVar = {"kd": "lower"}

    def compute(self, inputs: MetricInputs) -> dict[str, float]:
        """Return the mean over subsets, and the deviation as a detail."""
        mean, deviation = kernel_distance(inputs.real, inputs.fake, self.config.subsets, self.config.subset_size)
        inputs.details["kernel_deviation"] = deviation
        return {"kd": mean}


def inception_score(logits: Tensor, splits: int = 10) -> float:
    """Return exp of the mean KL divergence of class probabilities from their mean (arXiv 1606.03498), over splits.

    Uses torch's global generator.
    """
    from torchmetrics.image import inception

    with warnings.catch_warnings(action="ignore"):
        metric = inception.InceptionScore(
            feature=_Precomputed(logits.shape[1]), splits=min(splits, len(logits)), **NO_SYNC
        )
    metric.update(logits.cpu().double())
    mean, _ = metric.compute()
    return float(mean)


class InceptionScore(StandardMetric):
    """The Inception score, of any extractor with logits."""

    Config = configs.InceptionScoreConfig
    config: configs.InceptionScoreConfig
    needs = frozenset({"logits"})
    directions: ClassVar = {"is": "higher"}

    def compute(self, inputs: MetricInputs) -> dict[str, float]:
        """Return the score."""
        return {"is": inception_score(inputs.fake, self.config.splits)}

    def caveat(self, inputs: MetricInputs) -> str:
        """Fewer samples than classes, which the score cannot exceed; the real images have no part in it."""
        count, fewest = len(inputs.fake), max(FEWEST, inputs.fake.shape[1])
        few = f"{count:,} samples, fewer than {fewest:,}: the value is too small, and mostly chance"
        return few if count < fewest else ""


def precision_recall(real: Tensor, fake: Tensor, neighbors: int = 3, images: int = 10_000) -> tuple[float, float]:
    """Return the shares of samples in the real manifold and of real images in the samples' (arXiv 1904.06991)."""
    from torch_fidelity.metric_prc import prc_features_to_metric

    real, fake = real[:images], fake[:images]
    found = prc_features_to_metric(
        fake,
        real,
        prc_neighborhood=min(neighbors, len(real) - 1, len(fake) - 1),
        prc_batch_size=BLOCK,
        save_cpu_ram=True,
        verbose=False,
    )
    return float(found["precision"]), float(found["recall"])


class PrecisionRecall(StandardMetric):
    """Fidelity and variety apart."""

    Config = configs.PrecisionRecallConfig
    config: configs.PrecisionRecallConfig
    needs = frozenset({"features"})
    directions: ClassVar = {"precision": "higher", "recall": "higher"}

    def compute(self, inputs: MetricInputs) -> dict[str, float]:
        """Return both."""
        found = precision_recall(inputs.real, inputs.fake, self.config.neighbors, self.config.images)
        return dict(zip(self.directions, found, strict=True))


def density_coverage(real: Tensor, fake: Tensor, neighbors: int = 5, images: int = 10_000) -> tuple[float, float]:
    """Return the mean number of real neighborhoods a sample lies in over k, and the share with a sample in them.

    From arXiv 2002.09797. The density of real images is about 1 and may exceed it; the coverage is at most 1. The edge
    of a neighborhood, where its k-th neighbor lies, is outside, as in the authors' code.
    """
    real, fake = real[:images], fake[:images]
    neighbors = min(neighbors, len(real) - 1)
    inside, covered = 0.0, 0
    for part in torch.split(real, BLOCK):
        # An image is its own first neighbor.
        radii = torch.cdist(part, real).kthvalue(neighbors + 1).values
        within = torch.cdist(part, fake) < radii[:, None]
        inside += float(within.sum())
        covered += int(within.any(1).sum())
    return inside / (neighbors * len(fake)), covered / len(real)


class DensityCoverage(StandardMetric):
    """Fidelity and variety, separately; less sensitive to outliers than precision and recall."""

    Config = configs.DensityCoverageConfig
    config: configs.DensityCoverageConfig
    needs = frozenset({"features"})
    directions: ClassVar = {"density": "higher", "coverage": "higher"}

    def compute(self, inputs: MetricInputs) -> dict[str, float]:
        """Return both."""
        found = density_coverage(inputs.real, inputs.fake, self.config.neighbors, self.config.images)
        return dict(zip(self.directions, found, strict=True))


def diversity(real: Tensor, fake: Tensor) -> float:
    """Return the mean distance of two samples over that of two real images, (N, …) each: near 0 for mode collapse."""
    spread_of_real, spread_of_fake = (
        float(torch.pdist(images[:SPREAD_IMAGES].flatten(1).float()).mean()) for images in (real, fake)
    )
    return spread_of_fake / max(spread_of_real, 1e-12)


class Diversity(StandardMetric):
    """How much samples differ from each other; not used for ranking, since noise differs most."""

    Config = configs.DiversityConfig
    needs = frozenset({"features", "pixels", "points"})
    directions: ClassVar = {"diversity": "none"}
    ideals: ClassVar = {"diversity": 1.0}

    def compute(self, inputs: MetricInputs) -> dict[str, float]:
        """Return the share."""
        return {"diversity": diversity(inputs.real.cpu(), inputs.fake.cpu())}

    def settings(self, inputs: MetricInputs) -> dict[str, int]:
        """Return the number of images."""
        return {"images": SPREAD_IMAGES}


@dataclass(frozen=True)
class ClassScores:
    """Predictions of a classifier of the dataset's classes on samples.

    Attributes:
        covered: number of classes predicted with over 50% probability for a sample, and for 1% of an equal share of
            them.
        balance: entropy of the predicted classes over that of an even split: 1 is even, 0 a single class.
        confidence: mean probability of the predicted class.
        counts: number of samples of each predicted class.
    """

    covered: int
    balance: float
    confidence: float
    counts: list[int]


def class_scores(logits: Tensor) -> ClassScores:
    """Compute class scores from logits (N, classes) of samples."""
    confidence, choice = logits.cpu().double().softmax(1).max(1)
    classes = logits.shape[1]
    confident = torch.bincount(choice[confidence > CONFIDENT], minlength=classes)
    counts = torch.bincount(choice, minlength=classes)
    share = counts / counts.sum()
    even = torch.tensor(float(classes)).log()
    return ClassScores(
        covered=int((confident >= max(1.0, COVERED * len(logits) / classes)).sum()),
        balance=float(torch.special.entr(share).sum() / even) if classes > 1 else 1.0,
        confidence=float(confidence.mean()),
        counts=counts.tolist(),
    )


def unknown_classes(inputs: MetricInputs) -> str:
    """Say that the classifier does not find all classes among the real images themselves; empty if it does."""
    known, classes = class_scores(inputs.real).covered, inputs.real.shape[1]
    few = f"among the real images themselves the classifier finds {known:,} of {classes:,} classes"
    return few if known < classes else ""


class ClassCoverage(StandardMetric):
    """The classes of the dataset that a classifier finds among the samples."""

    Config = configs.ClassCoverageConfig
    needs = frozenset({"class_logits"})
    directions: ClassVar = {"classes_covered": "higher", "balance": "higher", "confidence": "none"}
    class_count = "classes_covered"

    def compute(self, inputs: MetricInputs) -> dict[str, float]:
        """Return the number of classes, balance and confidence; the number of samples of each class is a detail."""
        seen = class_scores(inputs.fake)
        inputs.details.update(
            classes=len(seen.counts), class_counts=seen.counts, real_confidence=class_scores(inputs.real).confidence
        )
        return {"classes_covered": seen.covered, "balance": seen.balance, "confidence": seen.confidence}

    def caveat(self, inputs: MetricInputs) -> str:
        """Fewer samples than ten of each class, which an even split would give, or a classifier that lacks some."""
        count, classes = len(inputs.fake), inputs.fake.shape[1]
        few = f"{count:,} samples for {classes:,} classes, fewer than ten of each: a class may be missing by chance"
        return "; ".join(filter(None, (few if count < 10 * classes else "", unknown_classes(inputs))))


class ClassAccuracy(StandardMetric):
    """GAN-test (arXiv 1807.09499); no score of generators without classes."""

    Config = configs.ClassAccuracyConfig
    needs = frozenset({"class_logits"})
    directions: ClassVar = {"class_accuracy": "higher"}

    def compute(self, inputs: MetricInputs) -> dict[str, float]:
        """Return the share over all samples, and that of each class as a detail."""
        if inputs.labels is None:
            return {}
        right = inputs.fake.argmax(1).cpu() == inputs.labels
        shares = [right[inputs.labels == index].double().mean() for index in range(inputs.fake.shape[1])]
        inputs.details["class_accuracies"] = [None if share.isnan() else round(float(share), 4) for share in shares]
        return {"class_accuracy": float(right.double().mean())}

    def caveat(self, inputs: MetricInputs) -> str:
        """Few images, or a classifier that does not know all classes."""
        return "; ".join(filter(None, (too_few(inputs), unknown_classes(inputs))))


class Memorization(StandardMetric):
    """How near samples are to the training images; not used for ranking, since noise has the fewest copies."""

    Config = configs.MemorizationConfig
    needs = frozenset({"pixels"})
    directions: ClassVar = {"memorization": "none", "copies": "none"}
    ideals: ClassVar = {"memorization": 0.5, "copies": NEAR}

    def compute(self, inputs: MetricInputs) -> dict[str, float]:
        """Return both shares, and the distances and the verdict as a detail."""
        found = asdict(memorization(inputs.fake, inputs.training, inputs.held_out, mirrored=inputs.mirrored))
        scores = {"memorization": found.pop("nearer"), "copies": found.pop("copies")}
        inputs.details["memorization"] = found
        return scores

    def caveat(self, inputs: MetricInputs) -> str:
        """Fewer images than those of which 1% is one."""
        unseen = inputs.training if inputs.held_out is None else inputs.held_out
        counts = {"samples": len(inputs.fake), "unseen images": len(unseen)}
        few = [f"{count:,} {what}" for what, count in counts.items() if count < FEWEST]
        return f"{' and '.join(few)}, fewer than {FEWEST:,}: 1% of them is less than one" if few else ""

    def settings(self, inputs: MetricInputs) -> dict[str, int | str]:
        """Return the number of images, and what unseen images are."""
        unseen = "training images, each against the others"
        if inputs.held_out is not None:
            unseen = f"crc32:{inputs.held_out.checksum:08x}"
        return {"images": min(COMPARED, len(inputs.fake)), "unseen": unseen}
