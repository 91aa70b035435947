"""Pairs of images for translation: aligned, side by side in one picture, or unpaired domains."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image

from ganzoo.plugin import DataError, LabeledImages, SampleSource, decode_image, printable, unusable_reason, upright
from ganzoo_datasets.configs import ImagePairsConfig
from ganzoo_datasets.files import FileDataset, read_file
from ganzoo_datasets.image_folder import File, folder_info, folder_notes, image_files, other_notes


class ImagePairs(FileDataset):
    """Images of a domain B, each with the image of a domain A that it belongs to as its condition; or the reverse.

    Both are cropped, resized and mirrored alike.
    """

    Config = ImagePairsConfig
    config: ImagePairsConfig
    _files: tuple[list[File], list[File]]
    """Files of the samples, and of the conditions; named relative to the root."""
    _notes: tuple[str, ...] = ()

    def prepare(self) -> None:
        """List the images.

        Raises:
            DataError: a folder is missing or has no images, or an image has no counterpart, or two.
        """
        self._notes = ()
        if self.config.pairing == "side_by_side":
            files = self._list("")
            self._files = files, files
            return
        a, b = (self._list(folder) for folder in self.config.folders)
        if self.config.pairing == "aligned":
            domains = [self._by_name(files, folder) for files, folder in zip((a, b), self.config.folders, strict=True)]
            single = sorted(domains[0].keys() ^ domains[1].keys())
            if single:
                raise DataError(
                    f"{self.root}: images without a counterpart of the same name in the other folder: {len(single)}, "
                    f'such as {printable(str(single[0]))}: remove them, or set dataset.pairing = "unpaired"'
                )
            a, b = ([domain[name] for name in sorted(domains[0])] for domain in domains)
        self._files = (b, a) if self.config.direction == "AtoB" else (a, b)

    def fingerprint(self) -> Sequence[object]:
        """Return paths, sizes, times and some contents of the images."""
        return [fact for files in self._files for fact in folder_info(self.root, files)]

    def open(self) -> SampleSource:
        """Return the images, with their conditions unless they are unpaired."""
        samples = self._files[0]
        if self.config.pairing == "unpaired":
            return LabeledImages([None] * len(samples), lambda index: self._read(samples[index]))
        return _Pairs(self)

    def open_conditions(self) -> SampleSource | None:
        """Return the conditions of unpaired domains."""
        conditions = self._files[1]
        if self.config.pairing != "unpaired":
            return None
        return LabeledImages([None] * len(conditions), lambda index: self._read(conditions[index]))

    def notes(self) -> tuple[str, ...]:
        """Return which folders are taken together, and how many files of other kinds lie among the images."""
        return self._notes

    def describe(self, index: int) -> str:
        """Return the image's path."""
        return printable(self.root / self._files[0][index].name)

    def describe_condition(self, index: int) -> str:
        """Return the path of an unpaired condition."""
        return printable(self.root / self._files[1][index].name)

    def pair(self, index: int) -> tuple[Image.Image, Image.Image]:
        """Return an image and its condition."""
        samples, conditions = self._files
        if self.config.pairing == "aligned":
            try:
                condition = self._read(conditions[index])
            except Exception as error:  # of many types; `describe` names the sample
                told = f"its condition {printable(self.root / conditions[index].name)}: {unusable_reason(error)}"
                raise ValueError(told) from error
            return self._read(samples[index]), condition
        picture = upright(decode_image(read_file(self.root / samples[index].name, self.config)))
        if picture.width == 1:
            raise ValueError("is one pixel wide, and must hold two images side by side")
        middle, width, height = picture.width // 2, picture.width, picture.height
        left, right = picture.crop((0, 0, middle, height)), picture.crop((width - middle, 0, width, height))
        return (right, left) if self.config.direction == "AtoB" else (left, right)

    def _read(self, file: File) -> Image.Image:
        return decode_image(read_file(self.root / file.name, self.config), self.config)

    def _by_name(self, files: Sequence[File], folder: str) -> dict[Path, File]:
        """Return the files by their paths in the folder without suffix; raises DataError where two have one."""
        named: dict[Path, File] = {}
        for file in files:
            path = Path(file.name).relative_to(folder)
            other = named.setdefault(path.with_suffix(""), file)
            if other is not file:
                both = f"{printable(str(Path(other.name).relative_to(folder)))} and {printable(str(path))}"
                raise DataError(
                    f"{self.root / folder}: {both} have one name, and an image belongs to one of the other folder: "
                    f'remove one, or set dataset.pairing = "unpaired"'
                )
        return named

    def _list(self, name: str) -> list[File]:
        folder = self.root / name
        if not folder.is_dir():
            raise DataError(
                f"{folder} is not a folder: set dataset.root to the folder that holds it, "
                f"or dataset.folders to the names of its two folders"
            )
        others: Counter[str] = Counter()
        found = image_files(folder, others)
        if not found:
            raise DataError(f"no images in {folder} or the folders in it")
        notes = (*folder_notes(found, folder, as_classes=False), *other_notes(others))
        self._notes += tuple(f"{folder}: {note}" for note in notes)
        return [replace(file, name=str(Path(name, file.name))) for file in found]


class _Pairs:
    def __init__(self, dataset: ImagePairs) -> None:
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset._files[0])

    def __getitem__(self, index: int) -> tuple[Image.Image, None, Image.Image]:
        image, condition = self._dataset.pair(index)
        return image, None, condition
