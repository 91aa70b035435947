"""Metrics of generated against real features: distances, manifolds, classes; by torchmetrics and torch-fidelity.

Each function takes features (N, D), or images, and returns plain numbers.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

CONFIDENT = 0.5
"""Least probability with which a classifier counts as confident."""
COVERED = 0.01
"""Least number of confident samples of a covered class, as a share of an even split over the classes."""
SUBSETS = 100
SUBSET_SIZE = 1000
SPLITS = 10
PRECISION_NEIGHBORS = 3
DENSITY_NEIGHBORS = 5
MANIFOLD_IMAGES = 10_000
"""Largest number of features of either set for the nearest-neighbor metrics."""
SPREAD_IMAGES = 1000
BLOCK = 2048

NO_SYNC: dict[str, Any] = {"sync_on_compute": False}
"""Options without which torchmetrics waits for the other processes, of which only one evaluates."""


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


def kernel_distance(real: Tensor, fake: Tensor) -> tuple[float, float]:
    """Return the squared MMD with a cubic kernel (KID, arXiv 1801.01401): mean and standard deviation over subsets.

    Unbiased, so about 0 for the same distribution and sometimes below. Uses torch's global generator.
    """
    from torchmetrics.image.kid import KernelInceptionDistance

    size = min(SUBSET_SIZE, len(real), len(fake))
    with warnings.catch_warnings(action="ignore"):  # about the memory for features, which is in use already
        metric = KernelInceptionDistance(
            feature=_Precomputed(real.shape[1]), subsets=SUBSETS, subset_size=size, **NO_SYNC
        )
    metric = metric.to(real.device)
    metric.update(real.float(), real=True)
    metric.update(fake.float(), real=False)
    mean, deviation = metric.compute()
    return float(mean), float(deviation)


def inception_score(logits: Tensor) -> float:
    """Return exp of the mean KL divergence of class probabilities from their mean (arXiv 1606.03498), over ten splits.

    Uses torch's global generator.
    """
    from torchmetrics.image.inception import InceptionScore

    with warnings.catch_warnings(action="ignore"):
        metric = InceptionScore(feature=_Precomputed(logits.shape[1]), splits=min(SPLITS, len(logits)), **NO_SYNC)
    metric.update(logits.cpu().double())
    mean, _ = metric.compute()
    return float(mean)


def precision_recall(real: Tensor, fake: Tensor) -> tuple[float, float]:
    """Return the shares of samples in the real manifold and of real images in the samples' (arXiv 1904.06991)."""
    from torch_fidelity.metric_prc import prc_features_to_metric

    found = prc_features_to_metric(
        fake[:MANIFOLD_IMAGES],
        real[:MANIFOLD_IMAGES],
        prc_neighborhood=min(PRECISION_NEIGHBORS, len(real) - 1, len(fake) - 1),
        prc_batch_size=BLOCK,
        save_cpu_ram=True,
        verbose=False,
    )
    return float(found["precision"]), float(found["recall"])


def density_coverage(real: Tensor, fake: Tensor) -> tuple[float, float]:
    """Return the mean number of real neighborhoods a sample lies in over k, and the share with a sample in them.

    From arXiv 2002.09797. The density of real images is about 1 and may exceed it; the coverage is at most 1.
    """
    real, fake = real[:MANIFOLD_IMAGES], fake[:MANIFOLD_IMAGES]
    neighbors = min(DENSITY_NEIGHBORS, len(real) - 1)
    inside, covered = 0.0, 0
    for part in torch.split(real, BLOCK):
        # An image is its own first neighbor.
        radii = torch.cdist(part, real).kthvalue(neighbors + 1).values
        within = torch.cdist(part, fake) <= radii[:, None]
        inside += float(within.sum())
        covered += int(within.any(1).sum())
    return inside / (neighbors * len(fake)), covered / len(real)


def diversity(real: Tensor, fake: Tensor) -> float:
    """Return the mean distance of two samples over that of two real images, (N, …) each: near 0 for mode collapse."""
    return spread(fake) / max(spread(real), 1e-12)


@dataclass(frozen=True)
class ClassScores:
    """Predictions of a classifier of the dataset's classes on samples.

    Attributes:
        covered: number of classes among the samples predicted with over 50% probability.
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


def spread(images: Tensor) -> float:
    """Return the mean pairwise distance of up to 1,000 images or features."""
    return float(torch.pdist(images[:SPREAD_IMAGES].flatten(1).float()).mean())
