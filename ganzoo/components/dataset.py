"""The contract of a dataset: where images come from, before they are decoded once into a pack."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
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
        """How many images there are."""
        ...

    def __getitem__(self, index: int, /) -> tuple[Image, int]:
        """One image, as stored, and its class index (ignored where the dataset has no classes)."""
        ...


class Dataset(ABC):
    """Labeled or unlabeled images.

    Building one reads nothing: `prepare` may download and reports what is missing, `open` gives the
    images, and the core crops, resizes and packs them by the options that every dataset has. They are
    packed anew when an option changes, except one declared with
    `Field(json_schema_extra={"affects_pixels": False})`, such as leave to download.
    """

    Config: ClassVar[type[DatasetConfig]] = DatasetConfig

    def __init__(self, config: DatasetConfig) -> None:
        self.config = config

    @abstractmethod
    def prepare(self) -> None:
        """Find the data, or download it where the options allow.

        Raises:
            DataError: it is not there; the text says which file to put where.
        """

    @abstractmethod
    def fingerprint(self) -> Sequence[object]:
        """Values that change when the source's content does, cheap to find (names, sizes, times, checksums)."""

    @abstractmethod
    def open(self) -> ImageSource:
        """The images, after `prepare`; read from many threads."""

    def class_names(self) -> tuple[str, ...]:
        """What the class indices stand for, after `prepare`; empty for data without labels."""
        return ()

    def notes(self) -> tuple[str, ...]:
        """What `prepare` passed over and a user may want to know, each in one sentence."""
        return ()

    def describe(self, index: int) -> str:
        """How to name one image in an error message: a path where there is one."""
        return f"image {index}"


class StoredImages(Protocol):
    """A dataset as it is trained on: decoded, cropped and resized images, with their classes.

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

    def __len__(self) -> int:
        """How many images there are."""


@dataclass(frozen=True)
class Batch:
    """Images (N, C, H, W) in [−1, 1] and their class indices (N,), on the device."""

    images: Tensor
    labels: Tensor | None = None

    def __len__(self) -> int:
        return len(self.images)

    def split(self, count: int) -> list[Batch]:
        """`count` batches of equal size, in order."""
        assert len(self) % count == 0, f"{len(self)} images do not split into {count} equal batches"
        images = self.images.chunk(count)
        labels = self.labels.chunk(count) if self.labels is not None else [None] * count
        return [Batch(part, label) for part, label in zip(images, labels, strict=True)]
