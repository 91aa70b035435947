"""A folder of one's own images, in any mix of sizes, color modes and formats."""

from __future__ import annotations

import errno
import os
import posixpath
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt
from PIL import Image

from ganzoo.plugin import (
    DataError,
    LabeledImages,
    LabelSpec,
    SampleSource,
    check_array,
    count_frames,
    decode_image,
    printable,
    readable_suffixes,
)
from ganzoo_datasets.configs import ImageFolderConfig
from ganzoo_datasets.files import ARRAYS, Archive, FileDataset, decode_array, read_file, some_contents
from ganzoo_datasets.label_files import natural_key, read_labels

_NOT_PICTURES = {"__MACOSX", "@eaDir"}  # left by macOS and by Synology's network disks, with copies of names
_SPLITS = {"train", "training", "test", "testing", "val", "valid", "validation", "dev", "eval"}
_LARGEST_IN_ARCHIVE = 256 * 1024**2
_VIDEOS = {".mp4", ".avi", ".mov", ".mkv", ".webm", ".mpg", ".mpeg", ".m4v"}
_UNREAD = {".heic", ".heif", ".dcm", ".dicom", ".nii", ".svg", ".pdf", ".eps", ".raw", ".cr2", ".nef", ".arw", ".dng"}
_ARCHIVES = {".zip", ".tar", ".gz", ".tgz", ".7z", ".rar", ".bz2", ".xz"}


class ImageFolder(FileDataset):
    """All images under `root`, at any depth, in the order of their paths; arrays in `.npy` and `.npz` files too.

    Hidden files and folders are ignored, and so are files whose suffix is of no image format. Links
    are followed, except to a folder that they lie in. `root` may be a zip archive, or a folder in one.
    """

    Config = ImageFolderConfig
    config: ImageFolderConfig

    def __init__(self, config: ImageFolderConfig) -> None:
        super().__init__(config)
        self._place: _Folder | _Zip = _Folder(self.root)
        self._files: list[File] = []
        self._frames: list[tuple[File, int | None]] = []
        self._labels: LabelSpec | None = None
        self._targets: list[Any] = []
        self._others: Counter[str] = Counter()

    def prepare(self) -> None:
        """List the images in the folder.

        Raises:
            DataError: there is no such folder, no image in it, or one outside the folders of the classes.
        """
        self._place = _place(self.root)
        self._others = Counter()
        self._files = self._place.files(self._others, readable_suffixes() | ARRAYS)
        if not self._files:
            raise DataError(
                f"no images in {self.root} or the folders in it "
                f"({f'other files: {_listed(self._others)}' if self._others else 'there are no files'}); "
                f"set dataset.root to the folder with your images"
            )
        self._labels, self._targets = None, [None] * len(self._files)
        if self.config.labels == "folders":
            indices = {name: index for index, name in enumerate(self._find_classes())}
            self._labels = LabelSpec.classes(indices)
            self._targets = [indices[file.folder] for file in self._files]
        elif self.config.labels != "none":
            path = self.root / self.config.labels
            names = [file.name for file in self._files]
            self._labels, self._targets = read_labels(
                path, names, self.config.label_kind, lambda: self._place.read(self.config.labels)
            )
            self._others[path.suffix.lower()] -= 1
        self._frames = [(file, None) for file in self._files]

    def fingerprint(self) -> Sequence[object]:
        """Return what tells the files apart, and names and labels where these are of a file."""
        labels = [] if self.config.labels in ("none", "folders") else [repr(self._labels), self._targets]
        return [*self._place.info(self._files), *labels]

    def open(self) -> SampleSource:
        """Return the images, in the order of their paths; with `frames = "all"` each of those in a file."""
        targets = self._targets
        if self.config.frames == "all":
            with ThreadPoolExecutor() as pool:
                counts = [*pool.map(self._count_frames, self._files)]
            self._frames = [
                (file, None if count == 1 else frame)
                for file, count in zip(self._files, counts, strict=True)
                for frame in range(count)
            ]
            targets = [target for target, count in zip(targets, counts, strict=True) for _ in range(count)]
        return LabeledImages(targets, lambda index: self._read(*self._frames[index]))

    def _count_frames(self, file: File) -> int:
        try:
            return 1 if file.suffix in ARRAYS else count_frames(self._place.read(file.name, self.config))
        except Exception:  # reading it tells
            return 1

    def _read(self, file: File, frame: int | None) -> Image.Image | npt.NDArray[Any]:
        config, data = self.config, self._place.read(file.name, self.config)
        if file.suffix not in ARRAYS:
            if config.bands is not None:
                raise ValueError("is a picture, and dataset.bands picks channels of arrays: leave it out")
            return decode_image(data, config, frame)
        array = decode_array(data, file.suffix, config.bands)
        try:
            check_array(array, config, config.sample_spec())
        except ValueError as error:  # of a file, and not of this class
            raise ValueError(str(error)) from None
        return array

    def labels(self) -> LabelSpec | None:
        """Return the folders right under `root` that hold images, in natural order; or what the file says."""
        return self._labels

    def describe(self, index: int) -> str:
        """Return the image's path, and the number of the frame where several are taken."""
        file, frame = self._frames[index]
        return printable(self.root / file.name) + ("" if frame is None else f", frame {frame}")

    def notes(self) -> tuple[str, ...]:
        """Return what the labels of a file are, folders that are taken together, and files that are left alone."""
        notes = []
        if self._labels is not None and self.config.labels != "folders":
            notes.append(f"the labels are {self._labels}: {', '.join(self._labels.names[:10])}")
        notes += folder_notes(self._files, self.root, as_classes=self.config.labels == "folders")
        return (*notes, *other_notes(self._others))

    def _find_classes(self) -> tuple[str, ...]:
        outside = [file for file in self._files if not file.folder]
        if outside:
            raise DataError(
                f'dataset.labels is "folders", and images lie in {self.root}, so in no class ({len(outside)}, such as '
                f'{printable(outside[0].name)}): move them into a folder there, or set it to "none"'
            )
        return tuple(sorted({file.folder for file in self._files}, key=natural_key))


@dataclass(frozen=True)
class File:
    """An image file.

    Attributes:
        name: its path relative to the root with `/`.
        size: in bytes, −1 if unknown.
        changed: its time in ns, −1 if unknown; in a zip its checksum.
    """

    name: str
    size: int
    changed: int

    @property
    def folder(self) -> str:
        """The folder right under the root that it lies in; empty for none."""
        first, slash, _ = self.name.partition("/")
        return printable(first) if slash else ""

    @property
    def suffix(self) -> str:
        """What its name ends with, in lower case and with its dot."""
        return Path(self.name).suffix.lower()


class _Folder:
    """The files in a folder."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def files(self, others: Counter[str], suffixes: Collection[str]) -> list[File]:
        return image_files(self._root, others, suffixes)

    def info(self, files: Sequence[File]) -> list[object]:
        return folder_info(self._root, files)

    def read(self, name: str, config: ImageFolderConfig | None = None) -> bytes:
        return read_file(self._root / name, config)


class _Zip:
    """The files in a zip, or in a folder of it."""

    def __init__(self, archive: Path, folder: str) -> None:
        self._archive = Archive(archive, _LARGEST_IN_ARCHIVE)
        self._folder = folder
        prefix = f"{folder}/" if folder else ""
        inside = self._archive.members.items()
        self._members = {name.removeprefix(prefix): member for name, member in inside if name.startswith(prefix)}

    def files(self, others: Counter[str], suffixes: Collection[str]) -> list[File]:
        found = []
        for name, member in self._members.items():
            if any(part.startswith(".") or part in _NOT_PICTURES for part in name.split("/")):
                continue
            file = File(name, member.file_size, member.CRC)
            if file.suffix in suffixes:
                found.append(file)
            else:
                others[file.suffix] += 1
        return sorted(found, key=lambda file: file.name)

    def info(self, files: Sequence[File]) -> list[object]:
        return [*map(astuple, files)]

    def read(self, name: str, config: ImageFolderConfig | None = None) -> bytes:
        if name in self._members:
            return self._archive.read(self._members[name])
        path = posixpath.normpath(posixpath.join(self._folder, name))  # labels may lie elsewhere
        if Path(name).is_absolute() or path.startswith("../"):
            return read_file(self._archive.place.parent / path.removeprefix("../"), config)
        if path not in self._archive.members:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        return self._archive.read(self._archive.members[path])


def _place(root: Path) -> _Folder | _Zip:
    """Return the files under a folder, a zip, or a folder in a zip.

    Raises:
        DataError: it is none of these.
    """
    if root.is_dir():
        return _Folder(root)
    for path in (root, *root.parents):
        if path.suffix.lower() == ".zip" and path.is_file():
            return _Zip(path, "" if path == root else root.relative_to(path).as_posix())
    if not root.exists():
        raise DataError(f"{root} does not exist: set dataset.root to the folder with your images")
    unpack = ": unpack it, and" if root.suffix.lower() in _ARCHIVES else ":"
    raise DataError(f"{root} is not a folder{unpack} set dataset.root to the folder with your images")


def folder_notes(files: Sequence[File], root: Path, *, as_classes: bool) -> list[str]:
    """Return a remark where the folders right under the root look like splits of the data, or like one wrapper."""
    folders = list(dict.fromkeys(file.folder for file in files if file.folder))
    splits = [name for name in folders if name.lower() in _SPLITS]
    if splits and (len(splits) > 1 or splits == folders):
        names, example = ", ".join(splits), f'for one of them set dataset.root = "{root / splits[0]}"'
        if as_classes:
            return [f"the folders {names} are taken for classes, and look like parts of the data: {example}"]
        return [f"the images of {names} are taken together: {example}"] if len(splits) > 1 else []
    if as_classes and len(folders) == 1 and all("/" in file.name.partition("/")[2] for file in files):
        return [
            f'"{folders[0]}" is the only class, with folders in it: for these to be the classes set '
            f'dataset.root = "{root / folders[0]}"'
        ]
    return []


def other_notes(others: Counter[str]) -> list[str]:
    """Return a remark on the files among the images that are left alone, and how to use those that hold images."""
    others = +others  # a file of labels is taken off, also where it was not counted
    if not others:
        return []
    notes = [f"{others.total()} other files are left alone: {_listed(others)}"]
    for suffixes, cure in (
        (_VIDEOS, "make images of the videos, such as with ffmpeg -i NAME %06d.png"),
        (_UNREAD, "convert those that hold images to PNG or .npy"),
        (_ARCHIVES, "unpack the archives for what is in them to be used"),
    ):
        if any(others[suffix] for suffix in suffixes):
            notes.append(cure)
    return ["; ".join(notes)]


def _listed(others: Counter[str]) -> str:
    kinds = sorted((+others).items(), key=lambda kind: (-kind[1], kind[0]))[:5]
    return ", ".join(f"{count} {printable(suffix) or 'without suffix'}" for suffix, count in kinds)


def image_files(folder: Path, others: Counter[str], suffixes: Collection[str] | None = None) -> list[File]:
    """Return the image files under a folder, in the order of their paths, and count the others by their suffix."""
    found = _walk(folder, "", (_identity(folder),), others, suffixes or readable_suffixes())
    return sorted(found, key=lambda file: file.name)


def folder_info(root: Path, files: Sequence[File]) -> list[object]:
    """Return paths, sizes, times and some contents of the files under a folder, which tell it from others."""
    return [*map(astuple, files), *some_contents([root / file.name for file in files])]


def _walk(
    folder: Path, prefix: str, ancestors: tuple[tuple[int, int], ...], others: Counter[str], suffixes: Collection[str]
) -> Iterator[File]:
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
                    yield File(name, -1, -1)
                else:
                    yield File(name, fact.st_size, fact.st_mtime_ns)
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
