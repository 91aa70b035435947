"""CelebA, from a folder or archive in any of its common layouts."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from ganzoo.builtin.datasets.celeba_files import (
    ARCHIVE,
    ATTRIBUTES,
    IMAGES,
    PARTITION,
    FoundImages,
    check_some,
    find_images,
    find_list,
    read_list,
)
from ganzoo.builtin.datasets.configs import CelebAConfig
from ganzoo.builtin.datasets.files import decode_image
from ganzoo.components.dataset import Dataset, SampleSource
from ganzoo.components.spec import LabelSpec
from ganzoo.errors import DataError, first_line

COMPLETE = 202_599
"""Number of images in CelebA."""

_SPLITS = {"train": "0", "valid": "1", "test": "2"}
_WHERE = (
    f"{ARCHIVE} (1.4 GB; from https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html or "
    f"https://www.kaggle.com/datasets/jessicali9530/celeba-dataset)"
)


class CelebA(Dataset):
    """Aligned faces of celebrities, 178×218 pixels, with 40 attributes."""

    Config = CelebAConfig
    config: CelebAConfig

    def __init__(self, config: CelebAConfig) -> None:
        super().__init__(config)
        self._images: FoundImages | None = None
        self._lists: dict[str, Path] = {}
        self._names: list[str] = []

    @property
    def root(self) -> Path:
        """The folder or archive that `dataset.root` names."""
        return Path(self.config.root).expanduser()

    def prepare(self) -> None:
        """Find the images and the lists that the options need, and download where nothing is there.

        Raises:
            DataError: something is missing or incomplete; the text says which file to put where.
        """
        images, lists = self._find_images(), {}
        if self.config.split != "all":
            lists[PARTITION] = find_list(PARTITION, self.root, images.place, f'dataset.split = "{self.config.split}"')
        if self.config.attribute is not None:
            purpose = f'dataset.attribute = "{self.config.attribute}"'
            lists[ATTRIBUTES] = find_list(ATTRIBUTES, self.root, images.place, purpose)
        self._images, self._lists = images, lists

    def fingerprint(self) -> Sequence[object]:
        """Return names, sizes and times of all images, or of their archive, and of the lists in use."""
        assert self._images is not None, "prepare() comes first"
        lists = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in self._lists.values()]
        return [*lists, *self._images.info]

    def open(self) -> SampleSource:
        """Return the images of the split, in the order of their names.

        Raises:
            DataError: images are missing, or a list is damaged.
        """
        images = self._images
        assert images is not None, "prepare() comes first"
        check_some(images)
        if not self._is_enough(len(images.names)):
            raise DataError(f"CelebA is not complete: {self._how_incomplete(images)}")
        self._names, labels = images.names, []
        if self.config.split != "all":
            self._names = self._take_split(images, self._lists[PARTITION], _SPLITS[self.config.split])
        if self.config.attribute is not None:
            labels = self._read_attribute(images, self._lists[ATTRIBUTES], self.config.attribute)
        return _Faces(images, self._names, labels, self.config)

    def labels(self) -> LabelSpec | None:
        """Return the classes without and with the attribute, if the options name one."""
        attribute = self.config.attribute
        return None if attribute is None else LabelSpec.classes((f"not {attribute}", attribute))

    def describe(self, index: int) -> str:
        """Return the image's path, or its archive and its name there."""
        assert self._images is not None, "prepare() comes first"
        place = self._images.place
        return f"{place}: {self._names[index]}" if place.is_file() else str(place / self._names[index])

    def _find_images(self) -> FoundImages:
        found, problems = find_images(self.root)
        if not found and not problems:
            self._download()
            found, problems = find_images(self.root)
        if len(found) == 1 and not problems:
            return found[0]  # open() counts its images
        largest = max(found, key=lambda images: len(images.names), default=None)
        if largest is not None and self._is_enough(len(largest.names)):
            return largest
        if largest is not None:
            problems.append(self._how_incomplete(largest))
        elif not problems:
            problems.append(f"there is nothing of it in {self.root} after the download: put {_WHERE} there")
        raise DataError("CelebA is not complete: " + "; ".join(problems))

    def _is_enough(self, count: int) -> bool:
        return count >= COMPLETE or self.config.allow_partial

    def _how_incomplete(self, images: FoundImages) -> str:
        return (
            f"{images.place} holds {len(images.names):,} images of {COMPLETE:,}: unpack {ARCHIVE} "
            f"again or put it into {self.root}, or set dataset.allow_partial = true to take what is there"
        )

    def _download(self) -> None:
        by_hand = f"put {_WHERE}, or the folder {IMAGES}/ from it, into {self.root}"
        if not self.config.download:
            raise DataError(f"CelebA is not in {self.root}, and dataset.download is false: {by_hand}")
        try:
            from torchvision import datasets

            datasets.CelebA(str(self.root), split="all", download=True)
        except Exception as error:  # of many types: no network, the quota of Google Drive, a full disk
            raise DataError(
                f"CelebA is not in {self.root} and cannot be downloaded from Google Drive ({first_line(error)}): "
                f"{by_hand}"
            ) from error

    def _take_split(self, images: FoundImages, path: Path, split: str) -> list[str]:
        _, rows = read_list(path)
        _check_rows(path, rows, images, set(_SPLITS.values()))
        return [name for name in images.names if rows[name[:6]] == [split]]

    def _read_attribute(self, images: FoundImages, path: Path, attribute: str) -> list[int]:
        attributes, rows = read_list(path)
        if attribute not in attributes:
            by_lower = {known.lower(): known for known in attributes}
            asked = attribute.lower().replace(" ", "_")
            near = [by_lower[key] for key in difflib.get_close_matches(asked, by_lower, n=1, cutoff=0.6)]
            hint = f'did you mean "{near[0]}"?' if near else f"it has {', '.join(attributes)}"
            raise DataError(f'dataset.attribute: CelebA has no attribute "{attribute}"; {hint}')
        _check_rows(path, rows, images, {"-1", "1"})
        column = attributes.index(attribute)
        return [int(rows[name[:6]][column] == "1") for name in self._names]


class _Faces:
    def __init__(self, images: FoundImages, names: list[str], labels: list[int], config: CelebAConfig) -> None:
        self._config = config
        self._images = images
        self._names = names
        self._labels = labels

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        image = decode_image(self._images.read(self._names[index]), self._config)
        return image, self._labels[index] if self._labels else 0


def _check_rows(path: Path, rows: dict[str, list[str]], images: FoundImages, known: set[str]) -> None:
    for name, values in rows.items():
        if not known.issuperset(values):
            raise DataError(
                f"{path} has other values than {' and '.join(sorted(known))} for the image {name} "
                f"({' '.join(values)[:40]}): it is damaged or another list: download it again"
            )
    missing = [name for name in images.names if name[:6] not in rows]
    if missing:
        raise DataError(
            f"{path} says nothing about {len(missing):,} of the {len(images.names):,} images in "
            f"{images.place} (such as {missing[0]}): it is damaged or not whole: download it again"
        )
