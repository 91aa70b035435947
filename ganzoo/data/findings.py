"""What a dataset's samples show that is seldom meant: few values in use, blank images, dropped frames, large crops."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ganzoo.components.dataset import Dataset
from ganzoo.components.options import ImageDatasetConfig
from ganzoo.data.transforms import ContractError, discarded, frame_count, upright_size
from ganzoo.text import counted

_LEVELS = 256
_LOOKED_AT = 64
_RARE = 0.001
_SMALL_PART = 0.25
_LARGE_CROP = 0.34
"""Above a third, so that photographs of 3:2 are none."""


@dataclass
class Survey:
    """Sums over the samples of a dataset, or over their conditions, counted by several threads.

    Attributes:
        images: number of images.
        constant: number of those that are of one color when transformed.
        files: number of those that are the only one taken of a file with several.
        dropped: number of the others in these files.
        discarded: sum of the shares of their pixels that the crop leaves out.
        floats: number of those stored as floats.
        levels: (256,) number of pixels by value, from the lowest that can be to the highest.
        contract: number of samples that no dataset may give.
    """

    images: int = 0
    constant: int = 0
    files: int = 0
    dropped: int = 0
    discarded: float = 0.0
    floats: int = 0
    levels: Any = field(default_factory=lambda: np.zeros(_LEVELS, dtype=np.int64))
    contract: int = 0
    _lock: Any = field(default_factory=Lock)

    def add(self, given: object, stored: npt.NDArray[Any], config: object) -> None:
        """Count one sample as the dataset gives it and as it is stored."""
        if stored.ndim != 3 or not isinstance(config, ImageDatasetConfig):
            return
        if isinstance(given, Image.Image):
            more, size = frame_count(given) - 1, upright_size(given)
        else:
            more, size = 0, np.asarray(given).shape[1::-1]
        cropped = discarded(size, config)
        constant = bool((stored == stored[0, 0]).all())
        step = max(1, max(stored.shape[:2]) // _LOOKED_AT)
        counts = np.bincount(levels(stored[::step, ::step]).ravel(), minlength=_LEVELS)
        with self._lock:
            self.images += 1
            self.constant += constant
            self.files += more > 0
            self.dropped += more
            self.discarded += cropped
            self.floats += stored.dtype == np.float32
            self.levels += counts

    def fail(self, error: Exception) -> None:
        """Count one sample that cannot be used."""
        with self._lock:
            self.contract += isinstance(error, ContractError)

    def findings(self, dataset: Dataset, what: str = "images") -> list[str]:
        """Return what should be told of the dataset, a sentence each with its cure."""
        config, found = dataset.config, []
        if self.contract:
            found.append(f"{self.contract} of what it gives are no {what} that a dataset may give: {blame(dataset)}")
        if not self.images or not isinstance(config, ImageDatasetConfig):
            return found
        if self.dropped:
            cure = ': dataset.frames = "all" takes all' if "frames" in type(config).model_fields else ""
            found.append(
                f"{counted(self.files, 'file')} with {self.files + self.dropped} frames in all, of which only the "
                f"first of each is taken{cure}"
            )
        if self.constant > self.images / 2:
            also = "" if config.value_range is None else f", and dataset.value_range, which is {_in_words(config)}"
            found.append(
                f"{self.constant} of {self.images} {what} come out in a single color: look at the files, and at "
                f'dataset.background for transparent parts, which become "{config.background}"{also}'
            )
        else:
            found += self._range_findings(config, what)
        if self.discarded > _LARGE_CROP * self.images:
            found.append(
                f"the crop leaves out {self.discarded / self.images:.0%} of the pixels of the {what}: set "
                f'dataset.image_size = [height, width] to their shape, or dataset.crop = "none" to squeeze them'
            )
        return found

    def _range_findings(self, config: ImageDatasetConfig, what: str) -> list[str]:
        total = self.levels.cumsum()
        low, high = np.searchsorted(total, [_RARE * total[-1], (1 - _RARE) * total[-1]])
        if high - low + 1 < _SMALL_PART * _LEVELS:
            share, middle = (high - low + 1) / _LEVELS, (high + low + 1) / 2 / _LEVELS
            cure = (
                'set it to "auto", or to the lowest and the highest value that there are'
                if config.value_range is not None
                else 'set dataset.value_range = [low, high] to what the values can be, or "auto"'
            )
            of = f"dataset.value_range = {_in_words(config)}" if config.value_range is not None else "their range"
            return [f"the values of the {what} use {share:.1%} of {of}, around {middle:.0%} of it: {cure}"]
        if self.floats == self.images and config.value_range is None and not self.levels[: _LEVELS // 2 - 1].any():
            return [
                f"the values of the {what} lie between 0 and 1, and floats are taken to run from −1 to 1: "
                f"set dataset.value_range = [0, 1]"
            ]
        return []


def name_of(dataset: Dataset) -> str:
    """Return the name of a dataset, in messages and of its pack."""
    return dataset.config.name or type(dataset).__name__.lower()


def name_and_class(dataset: Dataset) -> str:
    """Return the name of a dataset with its class, in messages about what its methods give."""
    return f'the dataset "{name_of(dataset)}" ({type(dataset).__module__}:{type(dataset).__qualname__})'


def blame(dataset: Dataset) -> str:
    """Return where what a dataset gives comes from, and what to do about it."""
    kind = type(dataset)
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    where = f"{kind.__qualname__} in {file}" if file else f"{kind.__module__}:{kind.__qualname__}"
    return f'the dataset "{name_of(dataset)}" gives them, not your files: fix {where}'


def _in_words(config: ImageDatasetConfig) -> str:
    return '"auto"' if config.value_range == "auto" else str(list(config.value_range or ()))


def levels(stored: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Return the values of what is stored of images, from the lowest to the highest that can be, in 8 bits."""
    if stored.dtype == np.uint8:
        return stored
    if stored.dtype == np.uint16:
        return (stored >> 8).astype(np.uint8)
    return ((stored + 1) * (_LEVELS / 2 - 0.5)).astype(np.uint8)
