"""Conformance check of extractors."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ganzoo.builtin.datasets.configs import SyntheticConfig
from ganzoo.builtin.datasets.synthetic import Synthetic
from ganzoo.components.extractor import Extractor
from ganzoo.data.packed_dataset import pack_dataset
from ganzoo.registry.registry import Entry
from ganzoo.testing.fixtures import BATCH, images_for, require, small_info, small_options


def check_extractor(entry: Entry[Any], **options: Any) -> None:
    """Check features, logits and digest, and that an image's features do not depend on the rest of the batch.

    Raises:
        DataError: its weights are missing.
        ConformanceError: with what to change.
    """
    config = small_options(entry, options)
    info = small_info(config)
    cls = entry.load()
    extractor: Extractor = cls(config, info=info)
    dataset = Synthetic(
        SyntheticConfig(
            name="synthetic", image_size=info.image.size, channels=info.image.channels, count=64, num_classes=10
        )
    )
    with tempfile.TemporaryDirectory() as folder:
        before = torch.get_rng_state()
        extractor.prepare(pack_dataset(dataset, cache=Path(folder)))
        require(torch.equal(before, torch.get_rng_state()), entry, "prepare draws from the process's random numbers")
    images = images_for(info)
    with torch.no_grad():
        features = extractor.features(images)
        require(
            isinstance(features, Tensor) and features.ndim == 2 and len(features) == BATCH,
            entry,
            f"features gives {tuple(features.shape)} for {BATCH} images: give (N, D)",
        )
        require(features.isfinite().all(), entry, "features are not finite")
        require(torch.equal(features, extractor.features(images)), entry, "features of the same images change")
        alone = torch.cat([extractor.features(image[None]) for image in images])
        require(
            torch.allclose(features, alone, rtol=1e-3, atol=1e-4 * float(features.abs().max())),
            entry,
            "features of an image depend on the others: fix the statistics of batch norm, in `prepare`",
        )
        logits = extractor.logits(features)
    require(
        logits is None or (logits.ndim == 2 and len(logits) == BATCH), entry, "logits must give (N, classes), or None"
    )
    require(
        not extractor.names_classes or (logits is not None and logits.shape[1] == info.num_classes),
        entry,
        "names_classes says that logits are over the dataset's classes, and there are not as many",
    )
    require(extractor.digest() == extractor.digest() != "", entry, "digest must be the same for the same weights")
    require(extractor.label.isidentifier(), entry, f'label "{extractor.label}" is no word that a score can end with')
