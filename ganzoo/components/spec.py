"""Properties of a dataset, for which components are built."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class ImageSpec:
    """The shape of every image of a dataset, in pixels."""

    channels: int
    height: int
    width: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of a tensor of one image."""
        return (self.channels, self.height, self.width)

    def __str__(self) -> str:
        return f"{self.channels}×{self.height}×{self.width}"


@dataclass(frozen=True)
class VectorSpec:
    """The length of every vector of a dataset."""

    size: int

    @property
    def shape(self) -> tuple[int]:
        """Shape (D,) of a tensor of one vector."""
        return (self.size,)

    def __str__(self) -> str:
        return f"{self.size} numbers"


@dataclass(frozen=True)
class LabelSpec:
    """The labels of a dataset.

    Attributes:
        kind: "classes", an index (N,) int64 into `names`; "attributes", 0 or 1 for each of `names` (N, K) float32;
            "continuous", a value for each of `names` (N, K) float32.
        names: of the classes, the attributes or the values.
    """

    kind: Literal["classes", "attributes", "continuous"]
    names: tuple[str, ...]

    @classmethod
    def classes(cls, names: Iterable[str]) -> LabelSpec | None:
        """Return the labels of a dataset with these classes; None without classes."""
        names = tuple(names)
        return cls("classes", names) if names else None


@dataclass(frozen=True)
class DatasetInfo:
    """Properties of the dataset that a component is built for, beside its own options.

    Attributes:
        samples: shape of its images or vectors.
        labels: what its labels are; None without labels.
        condition: shape of the input that each sample belongs to, such as the outlines of a photo; None without one.
    """

    samples: ImageSpec | VectorSpec
    labels: LabelSpec | None = None
    condition: ImageSpec | VectorSpec | None = None

    @property
    def image(self) -> ImageSpec:
        """Shape of the images.

        Raises:
            ValueError: the samples are vectors.
        """
        if not isinstance(self.samples, ImageSpec):
            raise ValueError(f"needs images, and the samples are vectors of {self.samples}")
        return self.samples

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, by index; empty without classes."""
        return self.labels.names if self.labels and self.labels.kind == "classes" else ()

    @property
    def num_classes(self) -> int:
        """Number of classes; 0 without classes."""
        return len(self.class_names)

    def lacks(self, uses: Iterable[str]) -> list[str]:
        """Return those of "labels" and "condition" in `uses` that the dataset has not."""
        return sorted(name for name in uses if getattr(self, name) is None)


def square_size(spec: ImageSpec) -> int:
    """Return the side of a square image.

    Raises:
        ValueError: the image is not square.
    """
    if spec.height != spec.width:
        raise ValueError(f"needs square images, and these are {spec.height}×{spec.width} pixels")
    return spec.height
