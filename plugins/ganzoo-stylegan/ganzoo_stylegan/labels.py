"""Labels of any kind as the vectors that StyleGAN2 takes."""

from __future__ import annotations

from ganzoo_dcgan.conditioning import one_hot
from torch import Tensor

from ganzoo.plugin import DatasetInfo


def label_dim(info: DatasetInfo, conditional: bool) -> int:
    """Return how many numbers a label is; 0 for a network that takes none."""
    if not conditional:
        return 0
    return len(info.labels.names) if info.labels else 1  # without labels the core says so once it is built


def label_vectors(labels: Tensor | None, info: DatasetInfo) -> Tensor | None:
    """Return labels (N, K): one-hot for class indices (N,), attributes and values (N, K) as they are."""
    if labels is None or labels.ndim == 2:
        return labels
    return one_hot(labels, info.num_classes)
