"""Pairs and domains made of the images of other datasets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from PIL import Image, ImageChops, ImageFilter, ImageOps

from ganzoo.plugin import Dataset, DatasetConfig, LabelSpec, SampleSource, class_of, code_of, eight_bit_image
from ganzoo_translation.configs import Change, DerivedPairsConfig, TwoDomainsConfig

Item = tuple[Any, ...]


class OfDatasets(Dataset):
    """A dataset that takes its samples, with their labels, from the dataset `source`."""

    config: DerivedPairsConfig | TwoDomainsConfig

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        reading = {"value_range": config.value_range, "max_pixels": config.max_pixels}
        self.inner = {key: built(options.model_copy(update=reading)) for key, options in self.config.inner().items()}

    def prepare(self) -> None:
        """Find or download the data of each.

        Raises:
            DataError: they are missing.
        """
        for dataset in self.inner.values():
            dataset.prepare()

    def fingerprint(self) -> Sequence[object]:
        """Return what changes with the content of each, and with its code."""
        return [[*dataset.fingerprint(), code_of(dataset, Dataset)] for dataset in self.inner.values()]

    def labels(self) -> LabelSpec | None:
        """Return the labels of the samples."""
        return self.inner["source"].labels()

    def notes(self) -> tuple[str, ...]:
        """Return the remarks of each."""
        return tuple(note for dataset in self.inner.values() for note in dataset.notes())


class DerivedPairs(OfDatasets):
    """Images, and conditions that are computed of them."""

    Config = DerivedPairsConfig
    config: DerivedPairsConfig
    _conditions: Sequence[int] = ()
    """Places of the images in their dataset that unpaired conditions are computed of."""

    def open(self) -> SampleSource:
        """Return the images with their conditions; unpaired, every second one alone."""
        source = self.inner["source"].open()
        return _Some(source, range(0, len(source), self._stride), self._pair if self._stride == 1 else tuple)

    def open_conditions(self) -> SampleSource | None:
        """Return the conditions of the images that `open` leaves out, where they are unpaired."""
        if self._stride == 1:
            return None
        source, labels, classes = self.inner["source"].open(), self.labels(), self.config.classes
        self._conditions = range(1, len(source), self._stride)
        if classes is not None and labels is not None:
            wanted = {*(labels.index(each) for each in classes), None}
            self._conditions = [place for place in self._conditions if class_of(source, place) in wanted]
        return _Some(source, self._conditions, lambda item: (self._changed(item[0]), None))

    def describe(self, index: int) -> str:
        """Return the image's name in its own dataset."""
        return self.inner["source"].describe(index * self._stride)

    def describe_condition(self, index: int) -> str:
        """Return the name of the image that a condition is computed of."""
        return self.inner["source"].describe(self._conditions[index])

    @property
    def _stride(self) -> int:
        return 1 if self.config.pairing == "aligned" else 2

    def _pair(self, item: Item) -> Item:
        return *item[:2], self._changed(item[0])

    def _changed(self, image: Any) -> Any:
        config, size, value_range = self.config, self.config.image_size, self.config.value_range
        picture = eight_bit_image(image, config, config.channels)
        if isinstance(config.crop, str) or config.resize_first:  # else pixels are cut off, as many as of the image
            picture = enlarged(picture, max(size) if isinstance(size, tuple) else size)
        for change in self.config.condition:
            picture = changed(picture, change)
        if value_range is None:
            return picture
        assert value_range != "auto", "refused"
        low, high = value_range  # from which it is scaled when it is stored, as the image is
        return low + np.asarray(picture, np.float32) * (float(high) - float(low)) / 255


class TwoDomains(OfDatasets):
    """The images of one dataset as samples, and those of another as conditions."""

    Config = TwoDomainsConfig
    config: TwoDomainsConfig

    def open(self) -> SampleSource:
        """Return the samples."""
        return self.inner["source"].open()

    def open_conditions(self) -> SampleSource | None:
        """Return the images of the other dataset."""
        source = self.inner["conditions"].open()
        return _Some(source, range(len(source)), lambda item: (item[0], None))

    def describe(self, index: int) -> str:
        """Return the sample's name in its own dataset."""
        return self.inner["source"].describe(index)

    def describe_condition(self, index: int) -> str:
        """Return the condition's name in its own dataset."""
        return self.inner["conditions"].describe(index)


class _Some:
    """Some of the samples of a source, each changed when it is read."""

    def __init__(self, source: SampleSource, places: Sequence[int], change: Any) -> None:
        self._source, self._places, self._change = source, places, change
        if (targets := getattr(source, "targets", None)) is not None:  # what picks classes without reading images
            self.targets = [targets[place] for place in places]

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Any:
        return self._change(self._source[self._places[index]])


def built(config: DatasetConfig) -> Dataset:
    """Return the dataset of these options."""
    return cast("Dataset", config.load_component()(config))


def enlarged(picture: Image.Image, side: int) -> Image.Image:
    """Return a picture whose shorter side has so many pixels at least: what is computed of it is not coarser."""
    factor = side / min(picture.size)
    if factor <= 1:
        return picture
    width, height = (round(each * factor) for each in picture.size)
    return picture.resize((width, height), Image.Resampling.BICUBIC)


def changed(picture: Image.Image, change: Change) -> Image.Image:
    """Return a gray or an RGB picture after a change."""
    side = min(picture.size)
    match change:
        case "outline":  # the morphological gradient
            return ImageChops.subtract(
                picture.filter(ImageFilter.MaxFilter(3)), picture.filter(ImageFilter.MinFilter(3))
            )
        case "blur":
            return picture.filter(ImageFilter.GaussianBlur(side / 10))
        case "half":
            half = (picture.width // 2, 0, picture.width, picture.height)
            covered = picture.copy()
            covered.paste(picture.crop(half).filter(ImageFilter.GaussianBlur(side / 4)), half)
            return covered
        case "gray":
            return picture.convert("L")
        case "invert":
            return ImageOps.invert(picture)
        case "rotate":
            return picture.transpose(Image.Transpose.ROTATE_90)
