"""Features of real images, computed once for each set of images and extractor and kept in the cache."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ganzoo.components.extractor import Extractor
from ganzoo.data.packed_dataset import PackedDataset, cache_folder, real_images
from ganzoo.errors import OutputError
from ganzoo.storage.disk import write_atomic

VERSION = 1
"""Raised with every change to how images get into an extractor."""
BATCH = 64


def chosen(packed: PackedDataset, most: int | None) -> Tensor:
    """The places (n,) of the images that are compared with: all, or so many of a fixed order."""
    if most is None or len(packed) <= most:
        return torch.arange(len(packed))
    return torch.randperm(len(packed), generator=torch.Generator().manual_seed(0))[:most]


def features_of_real(
    extractor: Extractor,
    packed: PackedDataset,
    most: int | None,
    device: torch.device,
    progress: Callable[[int, int], None],
) -> Tensor:
    """Features (n, D) on the CPU of the images of `packed`, or of `most` of them, from the cache where they are there.

    Args:
        extractor: prepared, on its device.
        packed: the images.
        most: how many to look at at most, always the same.
        device: the extractor's.
        progress: told (done, total) images.
    """
    indices = chosen(packed, most)
    path = _place(extractor, packed, len(indices), device)
    try:
        features = load_file(path)["features"]
        if len(features) == len(indices):
            return features
    except (OSError, SafetensorError, KeyError):
        pass  # computed below
    features = _computed(extractor, packed, indices, device, progress)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, partial(save_file, {"features": features}))
    except (OSError, OutputError, SafetensorError):
        pass  # a cache that cannot be written costs time and nothing else
    return features


@torch.inference_mode()
def _computed(
    extractor: Extractor,
    packed: PackedDataset,
    indices: Tensor,
    device: torch.device,
    progress: Callable[[int, int], None],
) -> Tensor:
    parts = []
    for start in range(0, len(indices), BATCH):
        parts.append(extractor.features(real_images(packed, indices[start : start + BATCH]).to(device)).float().cpu())
        progress(min(start + BATCH, len(indices)), len(indices))
    return torch.cat(parts)


def _place(extractor: Extractor, packed: PackedDataset, count: int, device: torch.device) -> Path:
    """A file for these very pixels, weights and ways of resizing."""
    info = (
        VERSION,
        packed.key,
        packed.checksum,
        count,
        extractor.label,
        extractor.digest(),
        extractor.input,
        extractor.resize,
        extractor.antialias,
        device.type,
    )
    digest = hashlib.sha256(repr(info).encode()).hexdigest()[:16]
    return cache_folder() / "features" / f"{extractor.label}-{digest}.safetensors"
