"""Scores of generated images against a dataset, each set with the protocol it was taken by."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance

from ganzoo.data.pack import Pack
from ganzoo.evaluation.classifier import FEATURES, Classifier, real_images

COVERED = 0.01
"""A class counts as covered from this share of its due number of confident samples on: 1 in 100 of an even split."""
CONFIDENT = 0.5
REAL_IMAGES = 10_000


@dataclass(frozen=True)
class Scores:
    """What a set of samples is worth.

    Attributes:
        classes_covered: classes that the classifier sees among the samples with over 50% probability.
        classes: classes of the dataset.
        class_counts: samples of each class, by the classifier's first choice.
        balance: entropy of these counts over that of an even spread: 1 is even, 0 is one class only.
        confidence: the classifier's mean probability for its first choice.
        real_confidence: the same for real images.
        fd_classifier: Fréchet distance to real images in the classifier's features; 0 is the same distribution.
        diversity: mean pixel distance between samples over that between real images; near 0 is collapse.
    """

    classes_covered: int
    classes: int
    class_counts: list[int]
    balance: float
    confidence: float
    real_confidence: float
    fd_classifier: float
    diversity: float

    def to_dict(self) -> dict[str, int | float | list[int]]:
        """As JSON has it."""
        return asdict(self)


def score(images: Tensor, pack: Pack, classifier: Classifier) -> Scores:
    """Score images (N, C, H, W) in [−1, 1] against 10,000 real ones, always the same, or all where there are fewer."""
    order = torch.randperm(len(pack), generator=torch.Generator().manual_seed(0))
    real = real_images(pack, order[:REAL_IMAGES])
    features, probabilities = classifier.look_at(images)
    real_features, real_probabilities = classifier.look_at(real)
    confidence, choice = probabilities.max(1)
    classes = pack.facts.num_classes
    sure = torch.bincount(choice[confidence > CONFIDENT], minlength=classes)
    counts = torch.bincount(choice, minlength=classes)
    return Scores(
        classes_covered=int((sure >= max(1.0, COVERED * len(images) / classes)).sum()),
        classes=classes,
        class_counts=counts.tolist(),
        balance=_balance(counts),
        confidence=float(confidence.mean()),
        real_confidence=float(real_probabilities.max(1).values.mean()),
        fd_classifier=frechet_distance(real_features, features),
        diversity=_spread(images) / _spread(real),
    )


def frechet_distance(real: Tensor, fake: Tensor) -> float:
    """The Fréchet distance between Gaussians fitted to two sets of features (N, 128), by torchmetrics."""
    metric = FrechetInceptionDistance(feature=_Features(), normalize=False).set_dtype(torch.float64)
    metric.update(real.double(), real=True)
    metric.update(fake.double(), real=False)
    return float(metric.compute())


class _Features(nn.Module):
    """Hands over features that are computed already; torchmetrics wants a module that computes them."""

    num_features = FEATURES

    def forward(self, features: Tensor) -> Tensor:
        return features


def _balance(counts: Tensor) -> float:
    share = counts / counts.sum()
    return float(torch.special.entr(share).sum() / torch.tensor(float(len(counts))).log())


def _spread(images: Tensor) -> float:
    """The mean distance between the pixels of two images, over up to 500 of them."""
    return float(torch.pdist(images[:500].flatten(1)).mean())
