"""The options of the built-in datasets."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from ganzoo.components.options import ImageDatasetConfig, ImageSize, sides
from ganzoo.components.spec import ImageSpec, VectorSpec


class _LabeledConfig(ImageDatasetConfig):
    """Options of a dataset whose images all have a class."""

    @property
    def has_labels(self) -> bool | None:
        """True."""
        return True


class DigitsConfig(_LabeledConfig):
    """scikit-learn's handwritten digits: 1,797 real images of 8×8 pixels, bundled, no download."""

    image_size: ImageSize = 32
    channels: PositiveInt = 1
    resize: Literal["bilinear", "bicubic", "lanczos", "box", "nearest"] = "bicubic"


class SyntheticConfig(_LabeledConfig):
    """Made-up pictures of colored discs, for tests and benchmarks; needs no data."""

    count: PositiveInt = 1024
    """How many images."""
    num_classes: PositiveInt = 10
    """How many classes; the class decides the disc's hue."""
    seed: int = Field(default=0, ge=-(2**63), lt=2**63)
    """The same seed gives the same images."""


class ImageFolderConfig(ImageDatasetConfig):
    """A folder, or a zip archive, of images of any size and format, flat or nested."""

    labels: str = "none"
    """"folders": the folders right under `root` are the classes; else a file in `root` with the labels: `dataset.json`
    as StyleGAN has it, or a CSV table with the file's name in the first column."""
    label_kind: Literal["classes", "attributes", "continuous"] | None = None
    """What the labels of a file are; left out: classes for one column of integers or text, attributes for several of 0
    and 1, else continuous values."""
    bands: tuple[NonNegativeInt, ...] | None = None
    """Channels that are taken of arrays, counted from 0, in this order; left out: all."""
    frames: Literal["first", "all"] = "first"
    """Images that are taken of a file with several, as animations and TIFF files of many pages are."""

    @property
    def has_labels(self) -> bool | None:
        """Whether folders or a file give the labels."""
        return self.labels != "none"

    @model_validator(mode="after")
    def _check_arrays(self) -> Self:
        if self.bands is not None and len(self.bands) != self.channels:
            raise ValueError(f"bands names {len(self.bands)} channels: set dataset.channels = {len(self.bands)}")
        return self


class ImagePairsConfig(ImageDatasetConfig):
    """Pairs of images for translation, such as outlines and photos; the one is made, the other is its condition."""

    pairing: Literal["aligned", "side_by_side", "unpaired"] = "aligned"
    """"aligned": two folders, whose images belong together by name; "side_by_side": A is the left half of each picture
    in `root` and B the right one; "unpaired": two folders, whose images are drawn independently."""
    folders: tuple[str, str] = ("A", "B")
    """The folders of A and B in `root`."""
    direction: Literal["AtoB", "BtoA"] = "AtoB"
    """"AtoB" makes images of B from those of A, "BtoA" the reverse."""
    condition_channels: PositiveInt | None = None
    """Channels of the conditions; left out: as `channels`."""

    @property
    def has_labels(self) -> bool | None:
        """False: there are none."""
        return False

    def condition_spec(self) -> ImageSpec | VectorSpec | None:
        """Return the shape of every condition."""
        return ImageSpec(self.condition_channels or self.channels, *sides(self.image_size))
