"""A folder of one's own images, in any mix of sizes, color modes and formats."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ganzoo.builtin.datasets.configs import ImageFolderConfig
from ganzoo.builtin.datasets.files import (
    ARRAYS,
    FileDataset,
    LabeledImages,
    in_range,
    read_array,
    read_deep,
    read_image,
    readable_suffixes,
)
from ganzoo.builtin.datasets.label_files import natural_key, read_labels
from ganzoo.components.dataset import Sample, SampleSource
from ganzoo.components.spec import LabelSpec
from ganzoo.errors import DataError
from ganzoo.text import printable

_NOT_PICTURES = {"__MACOSX", "@eaDir"}  # left by macOS and by Synology's network disks, with copies of names


class ImageFolder(FileDataset):
    """All images under `root`, at any depth, in the order of their paths; arrays in `.npy` and `.npz` files too.

    Hidden files and folders are ignored, and so are files whose suffix is of no image format. Links
    are followed, except to a folder that they lie in.
    """

    Config = ImageFolderConfig
    config: ImageFolderConfig

    def __init__(self, config: ImageFolderConfig) -> None:
        super().__init__(config)
        self._files: list[_File] = []
        self._labels: LabelSpec | None = None
        self._targets: list[Any] = []
        self._others: Counter[str] = Counter()

    def prepare(self) -> None:
        """List the images in the folder.

        Raises:
            DataError: there is no such folder, no image in it, or one outside the folders of the classes.
        """
        if not self.root.exists():
            raise DataError(f"{self.root} does not exist: set dataset.root to the folder with your images")
        if not self.root.is_dir():
            raise DataError(f"{self.root} is not a folder: set dataset.root to the folder with your images")
        self._others = Counter()
        self._files = image_files(self.root, self._others, readable_suffixes() | ARRAYS)
        if not self._files:
            raise DataError(
                f"no images in {self.root} or the folders in it "
                f"({f'other files: {self._other_files()}' if self._others else 'there are no files'}); "
                f"set dataset.root to the folder with your images"
            )
        self._labels, self._targets = None, [None] * len(self._files)
        if self.config.labels == "folders":
            indices = {name: index for index, name in enumerate(self._find_classes())}
            self._labels = LabelSpec.classes(indices)
            self._targets = [indices[file.folder] for file in self._files]
        elif self.config.labels != "none":
            path = self.root / self.config.labels
            self._others[path.suffix.lower()] -= path.is_file()
            names = [file.name for file in self._files]
            self._labels, self._targets = read_labels(path, names, self.config.label_kind)

    def fingerprint(self) -> Sequence[object]:
        """Return the relative paths, sizes and times of all images, and their labels where these come from a file."""
        labels = [] if self.config.labels in ("none", "folders") else [self._targets]
        return [*((file.name, file.size, file.changed) for file in self._files), *labels]

    def open(self) -> SampleSource:
        """Return the images, in the order of their paths."""
        paths = [self.root / file.name for file in self._files]
        return LabeledImages(self._targets, lambda index: self._read(paths[index]))

    def _read(self, path: Path) -> Sample:
        config = self.config
        if path.suffix.lower() in ARRAYS:
            return in_range(read_array(path, config.bands), config.value_range)
        return read_deep(path) if config.depth == 16 else read_image(path, config)

    def labels(self) -> LabelSpec | None:
        """Return the folders right under `root` that hold images, in natural order; or what the file says."""
        return self._labels

    def describe(self, index: int) -> str:
        """Return the image's path."""
        return printable(self.root / self._files[index].name)

    def notes(self) -> tuple[str, ...]:
        """Return what the labels of a file are, and how many files of other kinds lie among the images."""
        notes = []
        if self._labels is not None and self.config.labels != "folders":
            notes.append(f"the labels are {self._labels}: {', '.join(self._labels.names[:10])}")
        if self._others.total():
            notes.append(f"{self._others.total()} other files are left alone: {self._other_files()}")
        return tuple(notes)

    def _other_files(self) -> str:
        kinds = self._others.most_common(5)
        return ", ".join(f"{count} {printable(suffix) or 'without suffix'}" for suffix, count in kinds)

    def _find_classes(self) -> tuple[str, ...]:
        outside = [file for file in self._files if not file.folder]
        if outside:
            raise DataError(
                f'dataset.labels is "folders", and {len(outside)} images lie in {self.root}, so in no class '
                f'(such as {printable(outside[0].name)}): move them into a folder there, or set it to "none"'
            )
        return tuple(sorted({file.folder for file in self._files}, key=natural_key))


@dataclass(frozen=True)
class _File:
    """An image file: its path relative to the root with `/`, its size in bytes and time in ns, −1 if unknown."""

    name: str
    size: int
    changed: int

    @property
    def folder(self) -> str:
        first, slash, _ = self.name.partition("/")
        return printable(first) if slash else ""


def image_files(folder: Path, others: Counter[str], suffixes: Collection[str] | None = None) -> list[_File]:
    """Return the image files under a folder, in the order of their paths, and count the others by their suffix."""
    found = _walk(folder, "", (_identity(folder),), others, suffixes or readable_suffixes())
    return sorted(found, key=lambda file: file.name)


def _walk(
    folder: Path, prefix: str, ancestors: tuple[tuple[int, int], ...], others: Counter[str], suffixes: Collection[str]
) -> Iterator[_File]:
    """Yield the image files under a folder; `ancestors` are the folders above, by device and inode."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") or entry.name in _NOT_PICTURES:
                continue
            name = prefix + entry.name
            if _leads_to_folder(entry):
                identity = _identity(Path(entry.path))
                if identity not in ancestors:
                    yield from _walk(Path(entry.path), f"{name}/", (*ancestors, identity), others, suffixes)
            elif Path(entry.name).suffix.lower() in suffixes:
                try:
                    fact = entry.stat()
                except OSError:  # a broken or circular link, which reading reports
                    yield _File(name, -1, -1)
                else:
                    yield _File(name, fact.st_size, fact.st_mtime_ns)
            else:
                others[Path(entry.name).suffix.lower()] += 1


def _leads_to_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # circular links
        return False


def _identity(folder: Path) -> tuple[int, int]:
    fact = folder.stat()
    return fact.st_dev, fact.st_ino
