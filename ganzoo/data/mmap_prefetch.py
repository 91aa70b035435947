"""How a pack that memory does not hold is read from the disk: those pages that are wanted, ahead of time."""

from __future__ import annotations

import math
import mmap
import os
from typing import Any, cast

import numpy as np
from torch import Tensor

from ganzoo.data.packed_dataset import PackedDataset

_SHARE_OF_MEMORY = 0.25


class PageReads:
    """Reads the pages of single images of a memory map, ahead of when they are wanted.

    By itself a system reads much around each page that it misses; Linux 128 KB, on some machines 8 MB. That fills the
    memory quickly where the whole file fits into it; where it does not, nearly all of it is thrown away unused: of 8 or
    330 MB for a minibatch of 64 images of 64 pixels, it takes 0.8.

    Args:
        images: (N, H, W, C) uint8, mapped from a file; the map itself, and no view of a part of it.
    """

    def __init__(self, images: np.memmap[Any, np.dtype[np.uint8]]) -> None:
        self._map = cast("mmap.mmap", images.base)
        self._first: int = images.offset % mmap.ALLOCATIONGRANULARITY
        self._each = math.prod(images.shape[1:])
        self._map.madvise(mmap.MADV_RANDOM)

    def begin(self, order: Tensor) -> None:
        """Have the system begin to read the images of these indices, and go on at once."""
        for index in order.tolist():
            start = self._first + index * self._each
            page = start - start % mmap.PAGESIZE
            self._map.madvise(mmap.MADV_WILLNEED, page, start + self._each - page)


def page_reads(packed: PackedDataset) -> PageReads | None:
    """For a pack larger than a quarter of the machine's memory; None for others, and where no such hints are taken."""
    images = packed.images
    if not isinstance(images, np.memmap) or not isinstance(images.base, mmap.mmap):  # one in memory, a part of one
        return None
    if not hasattr(mmap.mmap, "madvise") or images.nbytes <= _SHARE_OF_MEMORY * memory_of_machine():
        return None
    return PageReads(images)


def memory_of_machine() -> int:
    """Bytes."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
