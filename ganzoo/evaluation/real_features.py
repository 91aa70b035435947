"""Features of real images, cached for each set of images and extractor."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from ganzoo.components.extractor import Extractor
from ganzoo.data.packed_dataset import PackedDataset, code_of, real_images
from ganzoo.data.tensor_cache import cached_tensors
from ganzoo.terminal import count_progress

VERSION = 2
"""Version of the preprocessing and of the order of the images, raised with every change to either."""
BATCH = 64
SPREAD_IMAGES = 1000


def reference_indices(packed: PackedDataset, most: int | None) -> Tensor:
    """Return the indices (n,) of the real images to compare with: all, or `most`, in a fixed shuffle.

    Datasets may be sorted by class, and metrics may take the first of what they get.
    """
    return torch.randperm(len(packed), generator=torch.Generator().manual_seed(0))[:most]


def spread(images: Tensor) -> float:
    """Return the mean pairwise distance of up to 1,000 images or features."""
    return float(torch.pdist(images[:SPREAD_IMAGES].flatten(1).float()).mean())


def features_of_real(extractor: Extractor, packed: PackedDataset, most: int | None, device: torch.device) -> Tensor:
    """Return the features (n, D) of the images of `packed`, or of `most` of them, on the CPU, from the cache if there.

    Args:
        extractor: prepared, on its device.
        packed: the images.
        most: largest number of images, always the same ones.
        device: the extractor's.
    """
    indices = reference_indices(packed, most)
    return cached_tensors(
        _place(extractor, packed, len(indices), device),
        lambda: {"features": _computed(extractor, packed, indices, device)},
        lambda found: "features" in found and len(found["features"]) == len(indices),
    )["features"]


@torch.inference_mode()
def _computed(extractor: Extractor, packed: PackedDataset, indices: Tensor, device: torch.device) -> Tensor:
    parts = []
    with count_progress(what=f"features of real images ({extractor.label})") as progress:
        for batch in torch.split(indices, BATCH):
            parts.append(extractor.features(real_images(packed, batch).to(device)).float().cpu())
            progress(sum(map(len, parts)), len(indices))
    return torch.cat(parts)


def _place(extractor: Extractor, packed: PackedDataset, count: int, device: torch.device) -> str:
    """Return the place in the cache for these pixels, weights, options, code and preprocessing."""
    info = (
        VERSION,
        packed.key,
        packed.checksum,
        count,
        extractor.label,
        extractor.digest(),
        extractor.config.model_dump_json(),
        code_of(extractor, Extractor),
        extractor.input,
        extractor.resize,
        extractor.antialias,
        device.type,
    )
    digest = hashlib.sha256(repr(info).encode()).hexdigest()[:16]
    return f"features/{extractor.label}-{digest}"
