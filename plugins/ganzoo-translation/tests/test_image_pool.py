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


@pytest.mark.parametrize("seed", range(10))
def test_no_image_is_taken_out_in_the_minibatch_that_put_it_there(seed: int) -> None:
    pool, rng = ImagePool(3, (1, 1, 1), torch.device("cpu")), torch.Generator().manual_seed(seed)
    assert pool.exchange(numbered(0), rng, WORLD).flatten().tolist() == [0]
    shown = pool.exchange(numbered(1, 2, 3, 4), rng, WORLD).flatten().tolist()
    assert shown in ([1, 2, 3, 4], [1, 2, 0, 4])
    assert len({*shown}) == 4


def test_a_minibatch_larger_than_the_pool_passes() -> None:
    pool, rng = ImagePool(2, (1, 1, 1), torch.device("cpu")), torch.Generator().manual_seed(2)
    shown = pool.exchange(numbered(*range(9)), rng, WORLD).flatten().tolist()
    assert shown == [0, 1, 2, 3, 4, 5, 6, 7, 8]
    assert len(pool.images) == 2
    none = ImagePool(0, (1, 1, 1), torch.device("cpu"))
    assert none.exchange(numbered(1, 2), rng, WORLD).flatten().tolist() == [1, 2]


class Of(World):
    """One of two processes, of whose minibatch this is the whole."""

    world_size = 2

    def __init__(self, rank: int, whole: torch.Tensor) -> None:
        self.rank, self.whole = rank, whole

    def all_gather(self, rows: torch.Tensor) -> torch.Tensor:
        return self.whole


def test_two_processes_keep_the_images_of_both_and_each_is_shown_its_part() -> None:
    pools = [ImagePool(6, (1, 1, 1), torch.device("cpu")) for _ in range(3)]
    rngs = [torch.Generator().manual_seed(3) for _ in range(3)]
    for step in range(10):
        whole = numbered(*range(4 * step, 4 * step + 4))
        alone = pools[2].exchange(whole, rngs[2], WORLD)
        parts = [pools[rank].exchange(whole.chunk(2)[rank], rngs[rank], Of(rank, whole)) for rank in range(2)]
        assert torch.equal(torch.cat(parts), alone)
    assert torch.equal(pools[0].images, pools[2].images)
    assert torch.equal(pools[1].images, pools[2].images)


def test_images_that_are_given_back_must_fit() -> None:
    pool = ImagePool(3, (1, 1, 1), torch.device("cpu"))
    pool.images = numbered(0, 1, 2, 3)
    assert pool.images.flatten().tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match=r"\(3, 1, 1\)"):
        pool.images = torch.zeros(2, 3, 1, 1)
