"""Conformance check of datasets, including their packing."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ganzoo.components.dataset import Dataset
from ganzoo.data.packed_dataset import pack_dataset
from ganzoo.registry.registry import Entry
from ganzoo.testing.fixtures import require, small_options

LOOKED_AT = 8


def check_dataset(entry: Entry[Any], **options: Any) -> None:
    """Check images, labels, fingerprint and packing.

    Raises:
        DataError: its data are missing; nothing is downloaded.
        ConformanceError: with what to change.
    """
    config = small_options(entry, {"image_size": 16, **options})
    cls = entry.load()
    dataset: Dataset = cls(config)
    dataset.prepare()
    names, source = dataset.class_names(), dataset.open()
    require(len(source) > 0, entry, "open gives no images")
    for index in range(min(LOOKED_AT, len(source))):
        image, label = source[index]
        require(isinstance(image, Image.Image), entry, f"image {index} is {type(image).__name__}: give a PIL image")
        require(
            not names or 0 <= int(label) < len(names),
            entry,
            f"image {index} is of class {label}, and class_names gives {len(names)}",
        )
        require(isinstance(dataset.describe(index), str), entry, "describe must give text")
    other: Dataset = cls(config)
    other.prepare()
    require(
        list(map(str, dataset.fingerprint())) == list(map(str, other.fingerprint())),
        entry,
        "fingerprint gives other values for the same data: it would be packed anew for every run",
    )
    with tempfile.TemporaryDirectory() as folder:
        packed = pack_dataset(dataset, cache=Path(folder))
        require(len(packed) > 0 and packed.images.dtype == np.uint8, entry, "its pack has no images")
        require(packed.info.image == config.image_spec(), entry, "its pack is of another shape than its config says")
        require(packed.info.class_names == tuple(names), entry, "its pack has other classes than class_names gives")
        again = pack_dataset(other, cache=Path(folder))
        require(again.key == packed.key, entry, "is packed anew when nothing has changed: look at fingerprint")
        del packed, again  # they are memory-mapped, and the folder is removed
