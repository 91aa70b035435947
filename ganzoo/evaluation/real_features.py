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
from ganzoo.data.packed_dataset import Pack, cache_folder, real_images
from ganzoo.errors import OutputError
from ganzoo.storage.disk import write_atomic

VERSION = 1
"""Raised with every change to how images get into an extractor."""
BATCH = 64


def chosen(pack: Pack, most: int | None) -> Tensor:
    """The places (n,) of the images that are compared with: all, or so many of a fixed order."""
    if most is None or len(pack) <= most:
        return torch.arange(len(pack))
    return torch.randperm(len(pack), generator=torch.Generator().manual_seed(0))[:most]


def features_of_real(
    extractor: Extractor, pack: Pack, most: int | None, device: torch.device, progress: Callable[[int, int], None]
) -> Tensor:
    """Features (n, D) on the CPU of the images of `pack`, or of `most` of them, from the cache where they are there.

    Args:
        extractor: prepared, on its device.
        pack: the images.
        most: how many to look at at most, always the same.
        device: the extractor's.
        progress: told (done, total) images.
    """
    indices = chosen(pack, most)
    path = _place(extractor, pack, len(indices), device)
    try:
        features = load_file(path)["features"]
        if len(features) == len(indices):
            return features
    except (OSError, SafetensorError, KeyError):
        pass  # computed below
    features = _computed(extractor, pack, indices, device, progress)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, partial(save_file, {"features": features}))
    except (OSError, OutputError, SafetensorError):
        pass  # a cache that cannot be written costs time and nothing else
    return features


@torch.inference_mode()
def _computed(
    extractor: Extractor, pack: Pack, indices: Tensor, device: torch.device, progress: Callable[[int, int], None]
) -> Tensor:
    parts = []
    for start in range(0, len(indices), BATCH):
        parts.append(extractor.features(real_images(pack, indices[start : start + BATCH]).to(device)).float().cpu())
        progress(min(start + BATCH, len(indices)), len(indices))
    return torch.cat(parts)


def _place(extractor: Extractor, pack: Pack, count: int, device: torch.device) -> Path:
    """A file for these very pixels, weights and ways of resizing."""
    facts = (
        VERSION,
        pack.key,
        pack.checksum,
        count,
        extractor.label,
        extractor.digest(),
        extractor.input,
        extractor.resize,
        extractor.antialias,
        device.type,
    )
    digest = hashlib.sha256(repr(facts).encode()).hexdigest()[:16]
    return cache_folder() / "features" / f"{extractor.label}-{digest}.safetensors"
