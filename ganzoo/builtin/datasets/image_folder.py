"""A folder of one's own images, in any mix of sizes, color modes and formats."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ganzoo.builtin.datasets.configs import ImageFolderConfig
from ganzoo.builtin.datasets.files import FileDataset, LabeledImages, printable, read_image, readable_suffixes
from ganzoo.components.dataset import SampleSource
from ganzoo.components.spec import LabelSpec
from ganzoo.errors import DataError

_NOT_PICTURES = {"__MACOSX", "@eaDir"}  # left by macOS and by Synology's network disks, with copies of names


class ImageFolder(FileDataset):
    """All images under `root`, at any depth, in the order of their paths.

    Hidden files and folders are ignored, and so are files whose suffix is of no image format. Links
    are followed, except to a folder that they lie in.
    """

    Config = ImageFolderConfig
    config: ImageFolderConfig

    def __init__(self, config: ImageFolderConfig) -> None:
        super().__init__(config)
        self._files: list[_File] = []
        self._classes: tuple[str, ...] = ()
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
        self._files = sorted(_walk(self.root, "", (_identity(self.root),), self._others), key=lambda file: file.name)
        if not self._files:
            raise DataError(
                f"no images in {self.root} or the folders in it "
                f"({f'other files: {self._other_files()}' if self._others else 'there are no files'}); "
                f"set dataset.root to the folder with your images"
            )
        self._classes = self._find_classes() if self.config.labels == "folders" else ()

    def fingerprint(self) -> Sequence[object]:
        """Return the relative paths, sizes and times of all images."""
        return [(file.name, file.size, file.changed) for file in self._files]

    def open(self) -> SampleSource:
        """Return the images, in the order of their paths."""
        indices = {name: index for index, name in enumerate(self._classes)}
        labels = [indices[file.folder] if indices else 0 for file in self._files]
        paths = [self.root / file.name for file in self._files]
        return LabeledImages(labels, lambda index: read_image(paths[index], self.config))

    def labels(self) -> LabelSpec | None:
        """Return the folders right under `root` that hold images, in natural order, if they are the labels."""
        return LabelSpec.classes(self._classes)

    def describe(self, index: int) -> str:
        """Return the image's path."""
        return printable(self.root / self._files[index].name)

    def notes(self) -> tuple[str, ...]:
        """Return how many files of other kinds lie among the images."""
        if not self._others:
            return ()
        return (f"{self._others.total()} other files are left alone: {self._other_files()}",)

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
        return tuple(sorted({file.folder for file in self._files}))


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


def _walk(folder: Path, prefix: str, ancestors: tuple[tuple[int, int], ...], others: Counter[str]) -> Iterator[_File]:
    """Yield the image files under a folder; `ancestors` are the folders above, by device and inode."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") or entry.name in _NOT_PICTURES:
                continue
            name = prefix + entry.name
            if _leads_to_folder(entry):
                identity = _identity(Path(entry.path))
                if identity not in ancestors:
                    yield from _walk(Path(entry.path), f"{name}/", (*ancestors, identity), others)
            elif Path(entry.name).suffix.lower() in readable_suffixes():
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
