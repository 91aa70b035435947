"""The properties of a dataset for which components are built."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from ganzoo.errors import RequestError
from ganzoo.text import did_you_mean

LARGEST_SIDE = 1 << 16
"""Largest number of channels, rows or columns that a manifest may state."""
SHOWN_CLASSES = 20
Side = Annotated[int, Field(gt=0, le=LARGEST_SIDE)]


class UnfitDataError(RequestError, ValueError):
    """The data are of another kind than a component or a command works on."""


@dataclass(frozen=True)
class ImageSpec:
    """The shape of every image of a dataset, in pixels."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    channels: Side
    height: Side
    width: Side

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of a tensor of one image."""
        return (self.channels, self.height, self.width)

    @property
    def stored_shape(self) -> tuple[int, int, int]:
        """Shape (H, W, C) of one image in a packed dataset."""
        return (self.height, self.width, self.channels)

    @property
    def size(self) -> int | tuple[int, int]:
        """Height and width as the option `image_size` has them: one number for a square."""
        return self.height if self.height == self.width else (self.height, self.width)

    def __str__(self) -> str:
        return f"{self.channels}×{self.height}×{self.width}"


@dataclass(frozen=True)
class VectorSpec:
    """The length of every vector of a dataset."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    size: Annotated[int, Field(gt=0, le=LARGEST_SIDE**2)]

    @property
    def shape(self) -> tuple[int]:
        """Shape (D,) of a tensor of one vector."""
        return (self.size,)

    @property
    def stored_shape(self) -> tuple[int]:
        """Shape (D,) of one vector in a packed dataset."""
        return self.shape

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

    __pydantic_config__ = ConfigDict(extra="forbid")

    kind: Literal["classes", "attributes", "continuous"]
    names: tuple[str, ...]

    def __str__(self) -> str:
        one, many = {
            "classes": ("class", "classes"),
            "attributes": ("attribute", "attributes"),
            "continuous": ("continuous value", "continuous values"),
        }[self.kind]
        return f"{len(self.names)} {one if len(self.names) == 1 else many}"

    @classmethod
    def classes(cls, names: Iterable[str]) -> LabelSpec | None:
        """Return the labels of a dataset with these classes; None without classes."""
        names = tuple(names)
        return cls("classes", names) if names else None

    @property
    def first_names(self) -> str:
        """The first ten names."""
        return ", ".join(self.names[:10]) + (", …" if len(self.names) > 10 else "")

    def index(self, wanted: str | int) -> int:
        """Return the index of a name; an index, or a text that is one, stands for itself.

        A text is no index where a name is a number: without a folder 1, "1" must not become the folder 2.

        Raises:
            ValueError: there is no such name or index.
        """
        if wanted in self.names:
            return self.names.index(str(wanted))
        only_names = isinstance(wanted, str) and any(name.isdecimal() for name in self.names)
        index = int(wanted) if str(wanted).isdecimal() and not only_names else -1
        if not 0 <= index < len(self.names):
            indices = "" if only_names else f" or indices from 0 to {len(self.names) - 1}"
            raise ValueError(
                f'there is no "{wanted}" among the {self}{did_you_mean(str(wanted), self.names)}: '
                f"give names ({self.first_names}){indices}"
            )
        return index

    def told(self, chosen: Iterable[int]) -> str:
        """Say which class is which, up to twenty: "0 = cat, 1 = dog", or the names alone where they are the indices."""
        each = [name if name == str(index) else f"{index} = {name}" for index in chosen for name in [self.names[index]]]
        text = ", ".join(each[:SHOWN_CLASSES]) + (f", … ({len(each)} classes)" if len(each) > SHOWN_CLASSES else "")
        return "".join(character if character.isprintable() else " " for character in text)


@dataclass(frozen=True)
class DatasetInfo:
    """Properties of the dataset that a component is built for, beside its own options.

    Attributes:
        samples: shape of its images or vectors.
        labels: what its labels are; None without labels.
        condition: shape of the input that each sample belongs to, such as the outlines of a photo; None without one.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    samples: ImageSpec | VectorSpec
    labels: LabelSpec | None = None
    condition: ImageSpec | VectorSpec | None = None

    @property
    def noun(self) -> str:
        """Word for the samples in messages: "images" or "vectors"."""
        return "images" if isinstance(self.samples, ImageSpec) else "vectors"

    def to_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        condition = f", conditions {self.condition}" if self.condition else ""
        return f"{self.samples}{f', {self.labels}' if self.labels else ''}{condition}"

    @property
    def image(self) -> ImageSpec:
        """Shape of the images.

        Raises:
            UnfitDataError: the samples are vectors.
        """
        if not isinstance(self.samples, ImageSpec):
            raise UnfitDataError(f"needs images, and the samples are vectors of {self.samples}")
        return self.samples

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, by index; empty without classes."""
        return self.labels.names if self.labels and self.labels.kind == "classes" else ()

    @property
    def num_classes(self) -> int:
        """Number of classes; 0 without labels.

        Raises:
            UnfitDataError: the labels are not classes.
        """
        if self.labels and self.labels.kind != "classes":
            raise UnfitDataError(f"needs classes, and the labels are {self.labels}")
        return len(self.class_names)

    def changed(self, now: DatasetInfo, parts: Iterable[str] = ("samples", "labels", "condition")) -> str:
        """Name the first of these parts that differs in `now`, before and after; empty where none does."""
        for part in parts:
            before, after = getattr(self, part), getattr(now, part)
            if before != after:
                told = [str(each or "none") for each in (before, after)]
                if told[0] == told[1]:  # as many labels, of other names
                    pairs = [names for names in zip(before.names, after.names, strict=True) if len(set(names)) > 1]
                    told = [", ".join(names) for names in zip(*pairs[:SHOWN_CLASSES], strict=True)]
                return f"the dataset has changed since: its {part} were {told[0]}, and are {told[1]}"
        return ""

    def lacks(self, uses: Iterable[str]) -> list[str]:
        """Return those of "labels" and "condition" in `uses` that the dataset lacks."""
        return sorted(name for name in uses if getattr(self, name) is None)


def square_size(spec: ImageSpec) -> int:
    """Return the side of a square image.

    Raises:
        ValueError: the image is not square.
    """
    if spec.height != spec.width:
        raise ValueError(f"needs square images, and these are {spec.height}×{spec.width} pixels")
    return spec.height
