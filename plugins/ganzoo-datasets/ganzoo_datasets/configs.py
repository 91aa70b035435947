"""The options of the datasets."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from ganzoo.plugin import ImageDatasetConfig, ImageSize, ImageSpec, VectorSpec

NOT_IN_PIXELS: dict[str, Any] = {"affects_pixels": False}
"""Marks an option that does not affect the decoded images."""


class TorchvisionConfig(ImageDatasetConfig):
    """Options common to the datasets that torchvision downloads."""

    download: bool = Field(default=True, json_schema_extra=NOT_IN_PIXELS)
    """Download into `root` the files that are missing there."""
    split: str = "train"
    """Split of the dataset."""

    @property
    def has_labels(self) -> bool | None:
        """True: each image has a class."""
        return True


class MNISTConfig(TorchvisionConfig):
    """MNIST: 60,000 + 10,000 handwritten digits, gray, 28×28; under `root` as torchvision lays them out."""

    image_size: ImageSize = 28
    channels: PositiveInt = 1
    split: Literal["train", "test"] = "train"


class FashionMNISTConfig(MNISTConfig):
    """Fashion-MNIST: 60,000 + 10,000 articles of clothing, gray, 28×28; as torchvision lays them out."""


class CIFAR10Config(TorchvisionConfig):
    """CIFAR-10: 50,000 + 10,000 photos of ten classes, RGB, 32×32; as torchvision lays them out."""

    image_size: ImageSize = 32
    split: Literal["train", "test"] = "train"


class SVHNConfig(TorchvisionConfig):
    """Street View House Numbers: 73,257 + 26,032 + 531,131 digits, RGB, 32×32; `*_32x32.mat` in `root`."""

    image_size: ImageSize = 32
    split: Literal["train", "test", "extra"] = "train"


class CelebAConfig(ImageDatasetConfig):
    """CelebA, aligned: 202,599 faces of 178×218 pixels.

    Under `root`: `img_align_celeba.zip` as downloaded, or the folder `img_align_celeba/`; either may
    also lie in `celeba/`, and `root` may be the folder or the archive itself.
    """

    crop: ImageSize | Literal["largest", "none"] = 178
    """Center crop: 178 is the full width, the same view as torchvision's Resize(64), CenterCrop(64)."""
    download: bool = Field(default=True, json_schema_extra=NOT_IN_PIXELS)
    """Download into `root` the files that are missing there."""
    source: Literal["google_drive", "huggingface"] = Field(default="google_drive", json_schema_extra=NOT_IN_PIXELS)
    """Where downloads come from: the authors' Google Drive, or the Hub's parquet copy of the same images (extra
    `huggingface`), which is written into an archive of their form."""
    split: Literal["all", "train", "valid", "test"] = "all"
    """Split of the dataset; all but "all" need `list_eval_partition.txt`."""
    attribute: str | None = None
    """An attribute such as "Smiling" that gives two classes; needs `list_attr_celeba.txt`."""
    attributes: Literal["all"] | tuple[str, ...] = ()
    """Attributes to use as labels, all 40 or some; needs `list_attr_celeba.txt`."""
    allow_partial: bool = Field(default=False, json_schema_extra=NOT_IN_PIXELS)
    """Use the images that are there, even if they are not all 202,599."""

    @property
    def has_labels(self) -> bool | None:
        """Whether an attribute gives the classes, or several are the labels."""
        return self.attribute is not None or bool(self.attributes)

    @model_validator(mode="after")
    def _check_labels(self) -> Self:
        if self.attribute is not None and self.attributes:
            raise ValueError("attribute gives two classes, and attributes are labels of another kind: set one of them")
        return self


class LSUNConfig(ImageDatasetConfig):
    """LSUN scenes: LMDB folders such as `bedroom_train_lmdb/` in `root`; needs the package `lmdb`."""

    scenes: tuple[str, ...] = Field(default=("bedroom_train",), min_length=1)
    """Names of the LMDB folders, without `_lmdb`; if there are several, they are the classes."""

    @property
    def has_labels(self) -> bool | None:
        """Whether there are several scenes, which are the classes."""
        return len(self.scenes) > 1


class ImageFolderConfig(ImageDatasetConfig):
    """A folder, or a zip archive, of images of any size and format, flat or nested."""

    reads_any_folder: ClassVar[bool] = True

    labels: str = "none"
    """"folders": the folders directly below `root` are the classes; else a file in `root` with the labels:
    `dataset.json` as StyleGAN has it, or a CSV table with the file's name in the first column."""
    label_kind: Literal["classes", "attributes", "continuous"] | None = None
    """Kind of the labels in a file; default: classes for one column of integers or text, attributes for several of 0
    and 1, else continuous values."""
    bands: Annotated[tuple[NonNegativeInt, ...], Field(min_length=1)] | None = None
    """Channels to use from arrays, counted from 0, in this order; default: all."""
    frames: Literal["first", "all"] = "first"
    """Images to use from a file with several, such as an animation or a multi-page TIFF file."""

    @property
    def has_labels(self) -> bool | None:
        """Whether folders or a file give the labels."""
        return self.labels != "none"

    @model_validator(mode="after")
    def _check_arrays(self) -> Self:
        if self.bands is not None and len(self.bands) != self.channels:
            raise ValueError(f"bands names {len(self.bands)} channels: set channels = {len(self.bands)}")
        return self


class ImagePairsConfig(ImageDatasetConfig):
    """Pairs of images for translation, such as outlines and photos; one is generated, the other is its condition."""

    pairing: Literal["aligned", "side_by_side", "unpaired"] = "aligned"
    """"aligned": two folders, whose images belong together by name; "side_by_side": A is the left half of each picture
    in `root` and B the right one; "unpaired": two folders, whose images are drawn independently."""
    folders: tuple[str, str] = ("A", "B")
    """The folders of A and B in `root`."""
    direction: Literal["AtoB", "BtoA"] = "AtoB"
    """"AtoB" makes images of B from those of A, "BtoA" the reverse."""
    condition_channels: PositiveInt | None = None
    """Channels of the conditions; default: the value of `channels`."""

    @property
    def has_labels(self) -> bool | None:
        """False: there are none."""
        return False

    def condition_spec(self) -> ImageSpec | VectorSpec | None:
        """Return the shape of every condition."""
        return replace(self.sample_spec(), channels=self.condition_channels or self.channels)
