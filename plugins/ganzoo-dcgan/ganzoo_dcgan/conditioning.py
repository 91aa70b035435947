"""Labels as an input of any layer: one-hot, concatenated to its features or channels (arXiv 1411.1784)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def one_hot(labels: Tensor, num_classes: int) -> Tensor:
    """Return rows (N, num_classes) with a 1 at the class, for class indices (N,)."""
    return F.one_hot(labels.long(), num_classes).float()


def shares(labels: Tensor | None, num_classes: int, like: Tensor) -> Tensor:
    """Return one-hot rows (N, num_classes), or all classes in equal parts for each of `like` (N, …) where unknown."""
    return like.new_full((len(like), num_classes), 1 / num_classes) if labels is None else one_hot(labels, num_classes)


def concat_labels(inputs: Tensor, classes: Tensor) -> Tensor:
    """Concatenate to (N, C + K) or (N, C + K, H, W) inputs (N, C) or (N, C, H, W) and one-hot classes (N, K).

    Every pixel gets the whole one-hot row.
    """
    classes = classes.to(inputs.dtype)
    if inputs.ndim == 4:
        classes = classes[:, :, None, None].expand(-1, -1, *inputs.shape[2:])
    return torch.cat([inputs, classes], 1)
