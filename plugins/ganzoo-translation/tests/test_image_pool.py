"""The pool of earlier images: what is kept, what is shown, and that it waits for nothing."""

from __future__ import annotations

import pytest
import torch
from ganzoo_translation.image_pool import ImagePool

from ganzoo.plugin import World

WORLD = World()


def numbered(*numbers: int) -> torch.Tensor:
    """Images of one pixel each, whose value tells them apart."""
    return torch.tensor(numbers, dtype=torch.float32).reshape(-1, 1, 1, 1)


def test_new_images_are_kept_and_shown_while_there_is_room() -> None:
    pool, rng = ImagePool(5, (1, 1, 1), torch.device("cpu")), torch.Generator().manual_seed(0)
    state = rng.get_state()
    assert pool.exchange(numbered(0, 1, 2), rng, WORLD).flatten().tolist() == [0, 1, 2]
    assert pool.images.flatten().tolist() == [0, 1, 2]
    assert torch.equal(rng.get_state(), state)
    shown = pool.exchange(numbered(3, 4, 5, 6), rng, WORLD).flatten().tolist()
    assert shown[:2] == [3, 4]
    assert sorted({*shown, *pool.images.flatten().tolist()}) == [0, 1, 2, 3, 4, 5, 6]


def test_half_of_the_images_are_swapped_for_earlier_ones_and_none_is_lost() -> None:
    pool, rng = ImagePool(50, (1, 1, 1), torch.device("cpu")), torch.Generator().manual_seed(1)
    pool.exchange(numbered(*range(50)), rng, WORLD)
    new, ages = 0, []
    for step in range(1000):
        number = 50 + step
        before = {*pool.images.flatten().tolist()}
        (shown,) = pool.exchange(numbered(number), rng, WORLD).flatten().tolist()
        new += shown == number
        assert {*pool.images.flatten().tolist()} | {shown} == before | {number}
        if shown != number:
            ages.append(number - shown)
    assert 420 < new < 580
    assert 70 < sum(ages) / len(ages) < 130  # 50 images, each replaced at every hundredth step


def test_a_minibatch_larger_than_the_pool_passes() -> None:
    pool, rng = ImagePool(2, (1, 1, 1), torch.device("cpu")), torch.Generator().manual_seed(2)
    shown = pool.exchange(numbered(*range(9)), rng, WORLD).flatten().tolist()
    assert shown[:2] == [0, 1]
    assert shown[4:] == [4, 5, 6, 7, 8]
    assert len(pool.images) == 2
    none = ImagePool(0, (1, 1, 1), torch.device("cpu"))
    assert none.exchange(numbered(1, 2), rng, WORLD).flatten().tolist() == [1, 2]


def test_images_that_are_given_back_must_fit() -> None:
    pool = ImagePool(3, (1, 1, 1), torch.device("cpu"))
    pool.images = numbered(0, 1, 2, 3)
    assert pool.images.flatten().tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match=r"\(3, 1, 1\)"):
        pool.images = torch.zeros(2, 3, 1, 1)
