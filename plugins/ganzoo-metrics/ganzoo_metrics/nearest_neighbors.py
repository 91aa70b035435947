"""Search for the training images nearest to samples, to tell new samples from copies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ganzoo.plugin import RequestError, StoredImages, real_images

Progress = Callable[[int, int], None]
CHUNK_BYTES = 64 * 2**20
SPARE = 8
"""Candidates beyond k whose distances are computed exactly, since fast distances of near copies are rounded."""


@dataclass(frozen=True)
class Neighbors:
    """Nearest images of a pack for each query, nearest first: indices (N, k), distances (N, k).

    A distance is the L2 norm of the difference of two images in [−1, 1].
    """

    indices: Tensor
    distances: Tensor


@torch.inference_mode()
def nearest(
    queries: Tensor,
    packed: StoredImages,
    k: int = 5,
    *,
    leave_out: Tensor | None = None,
    progress: Progress | None = None,
) -> Neighbors:
    """Find the k images of `packed` nearest to each of `queries` by pixels, in one pass of 64 MB chunks.

    Args:
        queries: images (N, C, H, W) in [−1, 1], of the pack's shape.
        packed: the images to search.
        k: number of neighbors.
        leave_out: index (N,) of one image to skip for each query, such as itself.
        progress: called with the number of images searched and in all, after each chunk.

    Raises:
        RequestError: the pack has fewer images, or images of another shape.
    """
    there = len(packed) - (leave_out is not None)
    if not 1 <= k <= there:
        raise RequestError(f"{k} neighbors: the dataset has {there} images to choose from")
    if queries.shape[1:] != packed.info.image.shape:
        shape = "×".join(map(str, queries.shape[1:]))
        raise RequestError(f"images of {shape} cannot be compared with the dataset's {packed.info.image}")
    flat = queries.flatten(1).float()
    rows = max(1, CHUNK_BYTES // (4 * flat.shape[1]))
    found = torch.full((len(flat), 0), 0, dtype=torch.int64)
    rough = torch.empty(len(flat), 0)
    for start in range(0, len(packed), rows):
        chunk = torch.arange(start, min(start + rows, len(packed)))
        distances = torch.cdist(flat, real_images(packed, chunk).flatten(1))
        if leave_out is not None:
            distances[chunk[None] == leave_out[:, None]] = torch.inf
        rough = torch.cat([rough, distances], 1)
        found = torch.cat([found, chunk.expand(len(flat), -1)], 1)
        rough, places = rough.topk(min(k + SPARE, rough.shape[1]), largest=False)
        found = found.gather(1, places)
        if progress is not None:
            progress(start + len(chunk), len(packed))
    exact = torch.stack([_distances(query, packed, those) for query, those in zip(flat, found, strict=True)])
    exact[rough.isinf()] = torch.inf
    distances, places = exact.topk(k, largest=False)
    return Neighbors(found.gather(1, places), distances)


def nearest_of_its_own(
    packed: StoredImages, count: int, seed: int = 0, *, progress: Progress | None = None
) -> Neighbors:
    """Find the nearest other image of each of `count` random images of `packed`, as a baseline for distances."""
    chosen = torch.randperm(len(packed), generator=torch.Generator().manual_seed(seed))[:count]
    return nearest(real_images(packed, chosen), packed, 1, leave_out=chosen, progress=progress)


def _distances(query: Tensor, packed: StoredImages, indices: Tensor) -> Tensor:
    distances: Tensor = torch.linalg.vector_norm(real_images(packed, indices).flatten(1) - query, dim=1)
    return distances
