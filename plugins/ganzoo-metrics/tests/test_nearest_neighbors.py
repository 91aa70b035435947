"""Nearest training images: by hand on a small pack, however it is cut."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from ganzoo_metrics import nearest_neighbors as neighbors
from ganzoo_metrics.nearest_neighbors import nearest, nearest_of_its_own

from ganzoo import api
from ganzoo.data.packed_dataset import PackedDataset, real_images
from ganzoo.errors import RequestError
from ganzoo.sampling.trained_run import TrainedRun
from ganzoo.training.build import open_dataset


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tables_in: Callable[[Path], dict]) -> TrainedRun:
    return api.run(tables_in(tmp_path_factory.mktemp("trained")), ["run.steps=2"])


@pytest.fixture(scope="module")
def packed(trained: TrainedRun) -> PackedDataset:
    return open_dataset(trained.recipe, trained.manager)


@pytest.mark.parametrize("rows", [1, 7, 64, 1000])
def test_nearest_by_hand(packed: PackedDataset, rows: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(neighbors, "CHUNK_BYTES", rows * 4 * 3 * 16 * 16)
    queries = torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    every = (queries.flatten(1)[:, None] - real_images(packed, torch.arange(64)).flatten(1)[None]).norm(dim=2)
    found = nearest(queries, packed, 3)
    expected = every.sort(1)
    assert found.indices.equal(expected.indices[:, :3])
    torch.testing.assert_close(found.distances, expected.values[:, :3])


def test_a_copy_is_at_distance_zero(packed: PackedDataset):
    queries = real_images(packed, torch.tensor([9, 40]))
    found = nearest(queries, packed, 2)
    assert found.indices[:, 0].tolist() == [9, 40]
    assert found.distances[:, 0].tolist() == [0, 0]
    left_out = nearest(queries, packed, 1, leave_out=torch.tensor([9, 40]))
    torch.testing.assert_close(left_out.distances[:, 0], found.distances[:, 1])


def test_typical_distance_among_training_images(packed: PackedDataset):
    images = real_images(packed, torch.arange(64)).flatten(1)
    distances = torch.cdist(images, images).fill_diagonal_(torch.inf).min(1).values
    assert float(nearest_of_its_own(packed, 64).distances.median()) == pytest.approx(
        float(distances.median()), rel=1e-4
    )


def test_impossible(packed: PackedDataset):
    with pytest.raises(RequestError, match="65 neighbors: the dataset has 64 images"):
        nearest(torch.zeros(1, 3, 16, 16), packed, 65)
    with pytest.raises(RequestError, match="1×16×16 cannot be compared with the dataset's 3×16×16"):
        nearest(torch.zeros(1, 1, 16, 16), packed)
