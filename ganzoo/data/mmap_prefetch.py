"""Prefetching of memory-mapped images, for packs larger than memory."""

from __future__ import annotations

import math
import mmap
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from torch import Tensor

from ganzoo.runtime.memory import physical_memory

_SHARE_OF_MEMORY = 0.25


class MmapPrefetcher:
    """Prefetch the pages of single images of a memory map.

    By default a system reads ahead around each page that it misses: Linux 128 KB, on some machines 8 MB. That fills
    the memory quickly where the whole file fits into it; where it does not, nearly all of it is evicted unused: a
    minibatch of 64 images of 64 pixels needs 0.8 MB, and 8 or 330 MB are read.

    Args:
        images: (N, …), the memory map itself and not a view of a part of it.
    """

    def __init__(self, images: np.memmap[Any, np.dtype[Any]]) -> None:
        self._map = cast("mmap.mmap", images.base)
        self._first: int = images.offset % mmap.ALLOCATIONGRANULARITY
        self._each = math.prod(images.shape[1:]) * images.itemsize
        self._map.madvise(mmap.MADV_RANDOM)

    def prefetch(self, order: Tensor) -> None:
        """Start reading the images at these indices in the background."""
        for index in order.tolist():
            start = self._first + index * self._each
            page = start - start % mmap.PAGESIZE
            self._map.madvise(mmap.MADV_WILLNEED, page, start + self._each - page)


def prefetcher_for(images: npt.NDArray[Any]) -> MmapPrefetcher | None:
    """Return a prefetcher for an array larger than a quarter of the memory; None for others, or without madvise."""
    if not isinstance(images, np.memmap) or not isinstance(images.base, mmap.mmap):  # one in memory, a part of one
        return None
    if not hasattr(mmap.mmap, "madvise") or images.nbytes <= _SHARE_OF_MEMORY * physical_memory():
        return None
    return MmapPrefetcher(images)
