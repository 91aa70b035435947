"""Conformance check of datasets, including their packing."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from ganzoo.components.dataset import Dataset
from ganzoo.data.packed_dataset import pack_dataset
from ganzoo.data.samples import SampleReader
from ganzoo.errors import DataError
from ganzoo.registry.registry import Entry
from ganzoo.testing.fixtures import require, small_options

LOOKED_AT = 8


def check_dataset(entry: Entry[Any], **options: Any) -> None:
    """Check samples, labels, fingerprint and packing.

    Raises:
        DataError: its data are missing; nothing is downloaded.
        ConformanceError: with what to change.
    """
    config = small_options(entry, {"image_size": 16, **options})
    cls = entry.load()
    dataset: Dataset = cls(config)
    dataset.prepare()
    reader = SampleReader(dataset)
    require(len(reader) > 0, entry, "open gives no samples")
    for index in range(min(LOOKED_AT, len(reader))):
        try:
            reader.read(index)
        except (ValueError, DataError) as error:
            require(False, entry, f"sample {index} {error}")
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
        require(len(packed) > 0 and packed.info == reader.info, entry, "its pack has other samples than open gives")
        again = pack_dataset(other, cache=Path(folder))
        require(again.key == packed.key, entry, "is packed anew when nothing has changed: look at fingerprint")
        del packed, again  # they are memory-mapped, and the folder is removed
