"""Base class of datasets, whose images are decoded once into a pack."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import ClassVar, Protocol

import numpy as np
import numpy.typing as npt
from PIL.Image import Image
from torch import Tensor

from ganzoo.components.options import DatasetConfig
from ganzoo.components.spec import DatasetInfo


class ImageSource(Protocol):
    """Images in a fixed order, each with its class index; every torchvision dataset is one."""

    def __len__(self) -> int:
        """Return the number of images."""
        ...

    def __getitem__(self, index: int, /) -> tuple[Image, int]:
        """Return one image, as stored, and its class index (ignored where the dataset has no classes)."""
        ...


class Dataset(ABC):
    """Labeled or unlabeled images.

    The constructor reads nothing: `prepare` may download and reports what is missing, `open` returns the
    images, and the core crops, resizes and packs them by the options that every dataset has. They are
    repacked when an option changes, except one declared with
    `Field(json_schema_extra={"affects_pixels": False})`, such as permission to download.
    """

    Config: ClassVar[type[DatasetConfig]] = DatasetConfig

    def __init__(self, config: DatasetConfig) -> None:
        self.config = config

    @abstractmethod
    def prepare(self) -> None:
        """Find the data, or download it where the options allow.

        Raises:
            DataError: it is missing; the text says which file to put where.
        """

    @abstractmethod
    def fingerprint(self) -> Sequence[object]:
        """Return values that change with the content of the source, cheap to compute (names, sizes, times)."""

    @abstractmethod
    def open(self) -> ImageSource:
        """Return the images, after `prepare`; they are read from several threads."""

    def class_names(self) -> tuple[str, ...]:
        """Return the names of the classes, by index, after `prepare`; empty for data without labels."""
        return ()

    def notes(self) -> tuple[str, ...]:
        """Return remarks for the user on what `prepare` skipped, each one sentence."""
        return ()

    def describe(self, index: int) -> str:
        """Return the name of one image for error messages: its path where there is one."""
        return f"image {index}"


class StoredImages(Protocol):
    """A packed dataset as training sees it: decoded, cropped and resized images, with their labels.

    `images` is (N, H, W, C) uint8, read-only; `labels` (N,) int64, or None for data without classes; `key` is a hash of
    everything that the pixels depend on.
    """

    @property
    def images(self) -> npt.NDArray[np.uint8]:
        """(N, H, W, C), read-only."""

    @property
    def labels(self) -> npt.NDArray[np.int64] | None:
        """Class indices (N,), or None."""

    @property
    def info(self) -> DatasetInfo:
        """Shape of the images, and names of the classes."""

    @property
    def key(self) -> str:
        """Hash of everything that the pixels depend on."""

    @property
    def checksum(self) -> int:
        """CRC-32 of the pixels: the same images, however they are stored."""

    def __len__(self) -> int:
        """Return the number of images."""


@dataclass(frozen=True)
class Batch:
    """Real samples, on the device.

    Attributes:
        real: images (N, C, H, W) in [−1, 1], or vectors (N, D).
        labels: class indices (N,) int64, or attributes or values (N, K) float32; None without labels.
        condition: the input that each sample belongs to, images or vectors (N, …); None without one.
    """

    real: Tensor
    labels: Tensor | None = None
    condition: Tensor | None = None

    def __len__(self) -> int:
        return len(self.real)

    def map(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """Return the batch with each of its tensors changed."""
        tensors = (self.real, self.labels, self.condition)
        return Batch(*(None if each is None else change(each) for each in tensors))  # type: ignore[arg-type]

    def split(self, count: int) -> list[Batch]:
        """Split into `count` batches of equal size, in order."""
        assert len(self) % count == 0, f"{len(self)} samples do not split into {count} equal batches"
        size = len(self) // count
        return [self.map(itemgetter(slice(start, start + size))) for start in range(0, len(self), size)]
