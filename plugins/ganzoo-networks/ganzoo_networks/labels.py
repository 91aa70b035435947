"""Labels of networks that require them."""

from __future__ import annotations

from torch import Tensor

from ganzoo.plugin import DatasetInfo


def needed(labels: Tensor | None, info: DatasetInfo) -> Tensor:
    """Return the labels as class indices (N,) of integer type.

    Raises:
        ValueError: there are none.
    """
    if labels is None:
        raise ValueError(f"a conditional network needs labels: class indices (N,) from 0 to {info.num_classes - 1}")
    return labels.long()
