"""Walks and arithmetic in latent space: ends, lengths, angles, means, noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from ganzoo_analysis import latent_math
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


def draw(count: int, size: int = 100, seed: int = 0) -> Tensor:
    return torch.randn(count, size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("method", ["spherical", "linear"])
def test_walks_have_their_ends(method: latent_math.Method):
    starts, ends = draw(3), draw(3, seed=1)
    walk = latent_math.walk(starts, ends, 7, method)
    assert walk.shape == (3, 7, 100)
    assert walk.dtype == starts.dtype
    torch.testing.assert_close(walk[:, 0], starts)
    torch.testing.assert_close(walk[:, -1], ends)


def test_spherical_walk_turns_and_grows_evenly():
    starts, ends = draw(4), 3 * draw(4, seed=1)
    walk = latent_math.walk(starts, ends, 9).double()
    lengths = walk.norm(dim=-1)
    torch.testing.assert_close(lengths.diff(dim=1), lengths.diff(dim=1)[:, :1].expand(-1, 8), rtol=1e-3, atol=1e-5)
    angles = torch.acos(torch.cosine_similarity(walk[:, 1:], walk[:, :-1], dim=-1))
    whole = torch.acos(torch.cosine_similarity(starts.double(), ends.double()))
    torch.testing.assert_close(angles, (whole / 8)[:, None].expand(-1, 8), rtol=1e-3, atol=1e-5)


def test_quarter_turn():
    (walk,) = latent_math.walk(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]), 3)
    torch.testing.assert_close(walk[1], torch.full((2,), math.sqrt(0.5)))


def test_middle_of_a_straight_line_is_shorter():
    starts, ends = draw(50), draw(50, seed=1)
    spherical, linear = (
        latent_math.walk(starts, ends, 3, method)[:, 1].norm(dim=1) for method in ("spherical", "linear")
    )
    assert spherical.mean() == pytest.approx(10, abs=0.3)
    assert linear.mean() == pytest.approx(10 / math.sqrt(2), abs=0.3)
    torch.testing.assert_close(latent_math.walk(starts, ends, 3, "linear")[:, 1], (starts + ends) / 2)


@pytest.mark.parametrize("end", [[2.0, 0.0], [-1.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
def test_no_great_circle_is_a_straight_line(end: list[float]):
    (walk,) = latent_math.walk(torch.tensor([[1.0, 0.0]]), torch.tensor([end]), 3)
    torch.testing.assert_close(walk[1], (torch.tensor([1.0, 0.0]) + torch.tensor(end)) / 2)


def test_impossible_walks():
    with pytest.raises(ValueError, match="1 steps"):
        latent_math.walk(draw(1), draw(1), 1)
    with pytest.raises(ValueError, match=r"starts \(2, 100\) and ends \(3, 100\)"):
        latent_math.walk(draw(2), draw(3))
    with pytest.raises(ValueError, match='"round": take one of spherical, linear'):
        latent_math.walk(draw(1), draw(1), method="round")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="1 point"):
        latent_math.pairs(draw(1))
    with pytest.raises(ValueError, match="1 steps"):
        latent_math.along(draw(1), draw(1)[0], 1)


def test_combine_takes_means():
    a, b, c = draw(3, 5), draw(3, 5, 1), draw(3, 5, 2)
    torch.testing.assert_close(latent_math.combine(a, b, c), (a.sum(0) - b.sum(0) + c.sum(0)) / 3)
    with pytest.raises(ValueError, match=r"b \(0, 5\)"):
        latent_math.combine(a, b[:0], c)


def test_noise_is_uniform_and_spares_the_middle():
    center = draw(1)[0]
    nearby = latent_math.around(center, 9, 0.25, rng=torch.Generator().manual_seed(0))
    assert nearby.shape == (9, 100)
    assert nearby[4].equal(center)
    noise = (nearby - center)[[0, 1, 2, 3, 5, 6, 7, 8]]
    assert noise.abs().max() <= 0.2501
    assert noise.max() > 0.24
    assert noise.min() < -0.24
    assert noise.std() == pytest.approx(0.25 / math.sqrt(3), rel=0.1)
    assert nearby.equal(latent_math.around(center, rng=torch.Generator().manual_seed(0)))


def test_along_a_direction():
    left, right = draw(4, 5), draw(2, 5, 1)
    vector = latent_math.direction(left, right)
    torch.testing.assert_close(vector, left.mean(0) - right.mean(0))
    faces = draw(3, 5, 2)
    moved = latent_math.along(faces, vector, 5, strength=2.0)
    assert moved.shape == (3, 5, 5)
    torch.testing.assert_close(moved[:, 2], faces)
    torch.testing.assert_close(moved[:, 0], faces - 2 * vector)
    torch.testing.assert_close(moved[:, 3], faces + vector)


def test_pairs_lead_through_all_points():
    points = draw(4, 2)
    starts, ends = latent_math.pairs(points)
    assert starts.equal(points[:3])
    assert ends.equal(points[1:])


class Doubles(TorchDispatchMode):
    """Counts the operations that made a tensor of float64."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Sequence[type], args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.count += isinstance(result, Tensor) and result.dtype is torch.float64
        return result


def test_walks_are_taken_on_the_cpu():
    """In float64, which not every device has, and brought back to the device and type of their ends."""
    ends = draw(2), draw(2, seed=1)
    with Doubles() as doubles:
        points = latent_math.walk(*ends, 5)
    assert doubles.count
    assert points.dtype is torch.float32
    assert points.device == ends[0].device
