"""Properties of a dataset's images, for which components are built."""

from __future__ import annotations

from dataclasses import dataclass


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
class DatasetInfo:
    """Properties of the dataset that a component is built for, beside its own options.

    `class_names` is empty for data without labels.
    """

    image: ImageSpec
    class_names: tuple[str, ...] = ()

    @property
    def num_classes(self) -> int:
        """Number of classes; 0 without labels."""
        return len(self.class_names)


def square_size(spec: ImageSpec) -> int:
    """Return the side of a square image.

    Raises:
        ValueError: the image is not square.
    """
    if spec.height != spec.width:
        raise ValueError(f"needs square images, and these are {spec.height}×{spec.width} pixels")
    return spec.height
