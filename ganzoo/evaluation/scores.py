"""Scores of generated against real features: distances, manifolds, classes; by torchmetrics and torch-fidelity.

Each function takes features (N, D), or images, and gives plain numbers; how they were made is the caller's to tell.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

CONFIDENT = 0.5
"""From this probability on, a classifier counts as sure."""
COVERED = 0.01
"""A class counts as covered from this share of its due number of confident samples on: 1 in 100 of an even split."""
SUBSETS = 100
SUBSET_SIZE = 1000
SPLITS = 10
PRECISION_NEIGHBORS = 3
DENSITY_NEIGHBORS = 5
MANIFOLD_IMAGES = 10_000
"""Most features, of either set, that neighbors are looked for among."""
SPREAD_IMAGES = 1000
BLOCK = 2048

ALONE: dict[str, Any] = {"sync_on_compute": False}
"""Of several processes one evaluates; torchmetrics would wait for what the others have."""


class _Given(nn.Module):
    """Hands over features that are computed already; torchmetrics wants a module that computes them."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.num_features = features

    def forward(self, features: Tensor) -> Tensor:
        return features


def frechet_distance(real: Tensor, fake: Tensor) -> float:
    """The Fréchet distance between Gaussians fitted to two sets of features (arXiv 1706.08500): 0 is the same."""
    from torchmetrics.image.fid import FrechetInceptionDistance

    metric = FrechetInceptionDistance(feature=_Given(real.shape[1]), normalize=False, **ALONE).set_dtype(torch.float64)
    metric.update(real.cpu().double(), real=True)
    metric.update(fake.cpu().double(), real=False)
    return float(metric.compute())


def kernel_distance(real: Tensor, fake: Tensor) -> tuple[float, float]:
    """Squared maximum mean discrepancy with a cubic kernel (KID, arXiv 1801.01401): mean and deviation over subsets.

    Unbiased, so about 0 for the same distribution and sometimes below. Draws from torch's random numbers.
    """
    from torchmetrics.image.kid import KernelInceptionDistance

    size = min(SUBSET_SIZE, len(real), len(fake))
    with warnings.catch_warnings(action="ignore"):  # of the memory that features take; they are there already
        metric = KernelInceptionDistance(feature=_Given(real.shape[1]), subsets=SUBSETS, subset_size=size, **ALONE)
    metric = metric.to(real.device)
    metric.update(real.float(), real=True)
    metric.update(fake.float(), real=False)
    mean, deviation = metric.compute()
    return float(mean), float(deviation)


def inception_score(logits: Tensor) -> float:
    """exp of the mean divergence of class probabilities from their mean (arXiv 1606.03498), over ten parts.

    Draws from torch's random numbers.
    """
    from torchmetrics.image.inception import InceptionScore

    with warnings.catch_warnings(action="ignore"):
        metric = InceptionScore(feature=_Given(logits.shape[1]), splits=min(SPLITS, len(logits)), **ALONE)
    metric.update(logits.cpu().double())
    mean, _ = metric.compute()
    return float(mean)


def precision_recall(real: Tensor, fake: Tensor) -> tuple[float, float]:
    """Shares of samples within the real images' manifold, and of real images within the samples' (arXiv 1904.06991)."""
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
    """How many real neighborhoods a sample lies in, of k; share of those with a sample in them (arXiv 2002.09797).

    The density of real images themselves is about 1 and may be above; the coverage is at most 1.
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
    """The mean distance between two samples over that between two real images: near 0 is collapse; (N, …) each."""
    return spread(fake) / max(spread(real), 1e-12)


@dataclass(frozen=True)
class ClassScores:
    """What a classifier of the dataset's own classes sees in samples.

    Attributes:
        covered: classes that it sees among the samples with over 50% probability.
        balance: entropy of its first choices over that of an even spread: 1 is even, 0 is one class only.
        confidence: its mean probability for its first choice.
        counts: samples of each class, by its first choice.
    """

    covered: int
    balance: float
    confidence: float
    counts: list[int]


def class_scores(logits: Tensor) -> ClassScores:
    """From logits (N, classes) of samples."""
    confidence, choice = logits.cpu().double().softmax(1).max(1)
    classes = logits.shape[1]
    sure = torch.bincount(choice[confidence > CONFIDENT], minlength=classes)
    counts = torch.bincount(choice, minlength=classes)
    share = counts / counts.sum()
    even = torch.tensor(float(classes)).log()
    return ClassScores(
        covered=int((sure >= max(1.0, COVERED * len(logits) / classes)).sum()),
        balance=float(torch.special.entr(share).sum() / even) if classes > 1 else 1.0,
        confidence=float(confidence.mean()),
        counts=counts.tolist(),
    )


def spread(images: Tensor) -> float:
    """The mean distance between two of up to 1,000 images or features."""
    return float(torch.pdist(images[:SPREAD_IMAGES].flatten(1).float()).mean())
