"""Batches."""

from __future__ import annotations

import pytest
import torch

from ganzoo.components.dataset import Batch


def test_split_keeps_the_order_and_the_labels():
    batch = Batch(torch.arange(6.0).reshape(6, 1, 1, 1), torch.arange(6))
    parts = batch.split(3)
    assert [len(part) for part in parts] == [2, 2, 2]
    assert [part.real.flatten().tolist() for part in parts] == [[0, 1], [2, 3], [4, 5]]
    assert [part.labels.tolist() for part in parts if part.labels is not None] == [[0, 1], [2, 3], [4, 5]]


def test_split_without_labels():
    assert [part.labels for part in Batch(torch.zeros(4, 1, 1, 1)).split(2)] == [None, None]


def test_split_into_unequal_parts_is_a_mistake():
    with pytest.raises(AssertionError, match="5 samples do not split into 2"):
        Batch(torch.zeros(5, 1, 1, 1)).split(2)
