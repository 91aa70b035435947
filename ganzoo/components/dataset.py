"""Base class of datasets, whose samples are decoded once into a packed dataset."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any, ClassVar, Protocol

import numpy.typing as npt
from PIL.Image import Image
from torch import Tensor

from ganzoo.components.options import DatasetConfig
from ganzoo.components.spec import DatasetInfo, LabelSpec

Sample = Image | npt.NDArray[Any]
"""A PIL image; an array (H, W) or (H, W, C) of uint8, uint16, or floats in [−1, 1]; or a vector (D,)."""
Label = int | Sequence[float] | npt.NDArray[Any] | None
"""A class index, or the attributes or values of one sample; None for data without labels."""


class SampleSource(Protocol):
    """Samples in a fixed order; every torchvision dataset of images is one, and so is a list.

    A source whose labels are known without reading its samples gives them as `targets`, like torchvision's, so that
    `classes = [...]` reads no others.
    """

    def __len__(self) -> int:
        """Return the number of samples."""
        ...

    def __getitem__(self, index: int, /) -> tuple[Sample, Label] | tuple[Sample, Label, Sample]:
        """Return one sample, as stored, and its label; and its condition, where the dataset has conditions."""
        ...


@dataclass(frozen=True)
class LabeledImages:
    """Images that are read one by one, by their index and from several threads, and their labels."""

    targets: Sequence[Any]
    read: Callable[[int], Sample]

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Sample, Label]:
        label = self.targets[index]
        return self.read(index), label


class Dataset(ABC):
    """Images or vectors, with labels and conditions or without.

    The constructor reads nothing: `prepare` may download and reports what is missing, `open` returns the
    samples, and the core crops, resizes and packs them by the options that every dataset has. They are
    repacked when an option changes, except one declared with
    `Field(json_schema_extra={"affects_pixels": False})`, such as permission to download.
    """

    Config: ClassVar[type[DatasetConfig]] = DatasetConfig

    def __init__(self, config: Any) -> None:
        self.config = config

    def prepare(self) -> None:  # noqa: B027 - data that are computed need no preparation
        """Find the data, or download it where the options allow.

        Raises:
            DataError: it is missing; the text says which file to put where.
        """

    @abstractmethod
    def fingerprint(self) -> Sequence[object]:
        """Return values that change with the content of the source, cheap to compute: names, sizes, times.

        Add a path or some contents: files of two folders may be alike in these. The packed dataset is made anew
        where these values, options or the file of the class differ: where `open` gives what other code computes,
        return a version of that code here too.
        """

    @abstractmethod
    def open(self) -> SampleSource:
        """Return the samples, after `prepare`; they are read from several threads."""

    def open_conditions(self) -> SampleSource | None:
        """Return conditions to be drawn independently of the samples; None where each sample comes with its own."""
        return None

    def labels(self) -> LabelSpec | None:
        """Return what the labels are, after `open`; None for data without labels."""
        return None

    def notes(self) -> tuple[str, ...]:
        """Return remarks for the user on what `prepare` found and skipped, each one sentence."""
        return ()

    def describe(self, index: int) -> str:
        """Return the name of one sample for error messages: its path where there is one."""
        return f"sample {index}"

    def describe_condition(self, index: int) -> str:
        """Return the name of one of the conditions that `open_conditions` gives, likewise."""
        return f"condition {index}"


@dataclass(frozen=True, init=False, match_args=False)  # for type checkers: nothing of it can be set
class StoredImages(Protocol):
    """A packed dataset as training sees it: decoded, cropped and resized images or vectors, with their labels."""

    images: npt.NDArray[Any]
    """Images (N, H, W, C) uint8, uint16 or float32, or vectors (N, D) float32; read-only."""
    labels: npt.NDArray[Any] | None
    """Class indices (N,) int64, attributes or values (N, K) float32, or None."""
    info: DatasetInfo
    """Shape of the samples, and what the labels are."""
    key: str
    """Hash of everything that the samples depend on."""
    checksum: int
    """CRC-32 of the pixels: the same images, however they are stored."""

    def __len__(self) -> int:
        """Return the number of samples."""


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


@dataclass(frozen=True)
class FakeBatch:
    """Generated samples (N, …), the latents (N, latent_dim) that made them, and labels and condition of their batch."""

    samples: Tensor
    latents: Tensor
    labels: Tensor | None = None
    condition: Tensor | None = None

    def detach(self) -> FakeBatch:
        """Return the same samples without the generator's graph."""
        return replace(self, samples=self.samples.detach())
