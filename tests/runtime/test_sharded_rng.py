"""What several processes draw is, put together, what one process draws."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from ganzoo.runtime.random_state import ShardedRNG

ROWS, COUNT = 3, 2
Draw = Callable[[int, torch.Generator], Tensor]


def drawn(draw: Draw, rows: int = ROWS) -> tuple[list[Tensor], Tensor]:
    """What each process draws, and the state of the random numbers afterwards, which all have."""
    parts, states = [], []
    for rank in range(COUNT):
        rng = torch.Generator().manual_seed(5)
        with ShardedRNG(rng, rows, rank, COUNT):
            parts.append(draw(rows, rng))
        states.append(rng.get_state())
    assert torch.equal(states[0], states[1])
    return parts, states[0]


@pytest.mark.parametrize(
    "draw",
    [
        lambda n, rng: torch.rand(n, 1, 1, 1, generator=rng),
        lambda n, rng: torch.rand(torch.Size([n, 2]), generator=rng),
        lambda n, rng: torch.randn(n, 17, generator=rng, device=rng.device),
        lambda n, rng: torch.randn(size=(n, 17), generator=rng, dtype=torch.float64),
        lambda n, rng: torch.randint(7, (n,), generator=rng),
        lambda n, rng: torch.randint(-3, 4, (n, 2), generator=rng),
        lambda n, rng: torch.randint(-3, 4, size=(n, 2), generator=rng),
        lambda n, rng: torch.randn(4 * n, generator=rng),
    ],
)
def test_parts_are_those_of_one_process(draw: Draw):
    parts, state = drawn(draw)
    rng = torch.Generator().manual_seed(5)
    assert torch.equal(torch.cat(parts), draw(ROWS * COUNT, rng))
    assert torch.equal(state, rng.get_state())


@pytest.mark.parametrize(
    "draw",
    [
        lambda n, rng: torch.empty(n, 5).normal_(generator=rng),
        lambda n, rng: torch.bernoulli(torch.full((n, 8), 0.5), generator=rng),
        lambda n, rng: torch.normal(0.0, 1.0, (n, 5), generator=rng),
        lambda n, rng: torch.rand(n, 5, generator=rng, out=torch.empty(n, 5)),
    ],
)
def test_whatever_else_draws_differs_between_processes(draw: Draw):
    (ours, theirs), _ = drawn(draw)
    assert ours.shape == theirs.shape
    assert not torch.equal(ours, theirs)


@pytest.mark.parametrize("shape", [(), (1,), (1, 4)])
def test_what_belongs_to_no_image_is_the_same_everywhere(shape: tuple[int, ...]):
    (ours, theirs), _ = drawn(lambda _, rng: torch.rand(shape, generator=rng))
    assert ours.shape == shape
    assert torch.equal(ours, theirs)


def test_a_single_image_has_a_row_of_its_own():
    (ours, theirs), _ = drawn(lambda n, rng: torch.randn(n, 8, generator=rng), rows=1)
    assert not torch.equal(ours, theirs)


def test_others_are_left_alone():
    def draw(n: int, rng: torch.Generator) -> Any:
        return torch.rand(n, 3, generator=torch.Generator().manual_seed(1)) + torch.ones(n, 3)

    (ours, theirs), _ = drawn(draw)
    assert torch.equal(ours, theirs)
