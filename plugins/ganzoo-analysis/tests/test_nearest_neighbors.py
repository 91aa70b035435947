"""Samples of a run beside the training images nearest to them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from ganzoo_analysis import network_analysis

from ganzoo import api


def test_of_a_run(tmp_path: Path, tables_in: Callable[[Path], dict]):
    trained = api.run(tables_in(tmp_path), ["run.steps=2"])
    found = network_analysis.neighbors(trained, count=3, k=2, seed=4)
    assert found.samples.shape == (3, 3, 16, 16)
    assert found.neighbors.shape == (3, 2, 3, 16, 16)
    distances = (found.neighbors - found.samples[:, None]).flatten(2).norm(dim=2)
    torch.testing.assert_close(found.found.distances, distances)
    assert found.samples_median > found.training_median > 0
    found.save(tmp_path / "neighbors.png")
    assert (tmp_path / "neighbors.png").stat().st_size
