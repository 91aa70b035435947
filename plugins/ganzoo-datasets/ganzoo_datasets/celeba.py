"""CelebA, from a folder or archive in any of its common layouts."""

from __future__ import annotations

import difflib
import json
import os
import re
import shutil
import zipfile
from collections.abc import Sequence
from functools import cached_property
from itertools import product
from pathlib import Path, PurePosixPath
from typing import Any

from ganzoo.plugin import DataError, LabeledImages, LabelSpec, SampleSource, decode_image, first_line, read_bytes
from ganzoo_datasets.celeba_parquet import fetch_parquet, parquet_files, unpack_parquet
from ganzoo_datasets.configs import CelebAConfig
from ganzoo_datasets.downloads import DownloadError, QuotaError, RemoteFile, fetch, google_drive
from ganzoo_datasets.files import Archive, FileDataset, file_info, is_web_page, some_contents

IMAGES = "img_align_celeba"
ARCHIVE = f"{IMAGES}.zip"
PARTITION = "list_eval_partition"
ATTRIBUTES = "list_attr_celeba"
COMPLETE = 202_599
"""Number of images in CelebA."""

_ON_GOOGLE_DRIVE = {
    ARCHIVE: ("0B7EVK8r0v71pZjFTYXZWM3FlRnM", "00d2c5bc6d35e252742224ab0c1e8fcb"),
    f"{ATTRIBUTES}.txt": ("0B7EVK8r0v71pblRyaVFSWGxPY0U", "75e246fa4810816ffd6ee81facbd244c"),
    f"{PARTITION}.txt": ("0B7EVK8r0v71pY0NSMzRuSXJEVkk", "d32c9cbf5e040fd4025c592c306e6668"),
}
"""The authors' files, each with its identifier there and its MD5 sum."""

_SPLITS = {"train": "0", "valid": "1", "test": "2"}
_WHERE = (
    f"{ARCHIVE} (1.4 GB; from https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html or "
    f"https://www.kaggle.com/datasets/jessicali9530/celeba-dataset)"
)

_IMAGE_NAME = re.compile(r"\d{6}\.(jpg|png)", re.IGNORECASE)
_LARGEST_IMAGE = 64 * 1024 * 1024
# Layouts of the zip, torchvision and the official site; in Kaggle's, the image folder holds one of the same name.
_PARENTS = ("", "celeba", "Img")
_LIST_FOLDERS = ("", "celeba", "Anno", "Eval", "..", "../Anno", "../Eval", "../..", "../../Anno", "../../Eval")


class CelebA(FileDataset):
    """Aligned faces of celebrities, 178×218 pixels, with 40 attributes."""

    Config = CelebAConfig
    config: CelebAConfig
    _images: _Folder | _Archive
    _lists: dict[str, Path]
    _names: list[str]
    _attributes: tuple[str, ...] = ()

    def prepare(self) -> None:
        """Find the images and the lists that the options need, and download where nothing is there.

        Raises:
            DataError: something is missing or incomplete; the text says which file to put where.
        """
        self._images, self._lists = self._find_images(), {}
        if self.config.split != "all":
            self._lists[PARTITION] = self._find_list(PARTITION, f'dataset.split = "{self.config.split}"')
        if self.config.has_labels:
            option = "attribute" if self.config.attribute else "attributes"
            purpose = f"dataset.{option} = {json.dumps(getattr(self.config, option))}"
            self._lists[ATTRIBUTES] = self._find_list(ATTRIBUTES, purpose)

    def fingerprint(self) -> Sequence[object]:
        """Return names, sizes, times and some contents of all images, or of their archive, and of the lists in use."""
        return [*file_info(self._lists.values()), *self._images.info]

    def open(self) -> SampleSource:
        """Return the images of the split, in the order of their names.

        Raises:
            DataError: images are missing, or a list is damaged.
        """
        images = self._images
        check_some(images)
        if not self._is_enough(len(images.names)):
            raise DataError(f"CelebA is not complete: {self._how_incomplete(images)}")
        names = images.names
        if self.config.split != "all":
            names = self._take_split(images, self._lists[PARTITION], _SPLITS[self.config.split])
        self._names, labels = names, [None] * len(names)
        if self.config.has_labels:
            labels = self._read_attributes(images, self._lists[ATTRIBUTES])
        return LabeledImages(labels, lambda index: decode_image(images.read_image(names[index]), self.config))

    def labels(self) -> LabelSpec | None:
        """Return the classes without and with the attribute, if the options name one; or the attributes."""
        if self.config.attributes:
            return LabelSpec("attributes", self._attributes)
        attribute = self.config.attribute
        return None if attribute is None else LabelSpec.classes((f"not {attribute}", attribute))

    def describe(self, index: int) -> str:
        """Return the image's path, or its archive and its name there."""
        place = self._images.place
        return f"{place}: {self._names[index]}" if place.is_file() else str(place / self._names[index])

    def _find_list(self, name: str, purpose: str) -> Path:
        try:
            return find_list(name, self.root, self._images.place, purpose)
        except DataError as error:
            if not self.config.download or self.config.source != "google_drive":
                raise
            try:
                return self._fetch(f"{name}.txt")
            except (DownloadError, OSError) as reason:
                raise DataError(f"{error}; it cannot be downloaded from Google Drive ({_why(reason)})") from reason

    def _find_images(self) -> _Folder | _Archive:
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

    def _how_incomplete(self, images: _Folder | _Archive) -> str:
        return (
            f"{images.place} holds {len(images.names):,} images of {COMPLETE:,}: unpack {ARCHIVE} "
            f"again or put it into {self.root}, or set dataset.allow_partial = true to take what is there"
        )

    def _download(self) -> None:
        by_hand = f"put {_WHERE}, or the folder {IMAGES}/ from it, into {self.root}"
        if not self.config.download:
            raise DataError(f"CelebA is not in {self.root}, and dataset.download is false: {by_hand}")
        if self.config.source == "huggingface" or parquet_files(self._folder):
            return self._take_parquet()
        try:
            self._fetch(ARCHIVE)
        except (DownloadError, OSError) as error:
            later = "try again in a day; or " if isinstance(error, QuotaError) else ""
            raise DataError(
                f"CelebA is not in {self.root} and cannot be downloaded from Google Drive ({_why(error)}): "
                f"{later}take the same images from the Hugging Face Hub, --set dataset.source=huggingface; or {by_hand}"
            ) from error

    def _take_parquet(self) -> None:
        """Write the archive out of parquet files, those that are there or downloaded ones."""
        downloads = self.root / "celeba_huggingface"
        files = parquet_files(self._folder) or fetch_parquet(downloads)
        self._folder.mkdir(parents=True, exist_ok=True)
        unpack_parquet(files, *(self._folder / name for name in (ARCHIVE, f"{PARTITION}.txt", f"{ATTRIBUTES}.txt")))
        shutil.rmtree(downloads, ignore_errors=True)

    @property
    def _folder(self) -> Path:
        """Where downloads go, as torchvision has it."""
        return self.root / "celeba"

    def _fetch(self, name: str) -> Path:
        identifier, md5 = _ON_GOOGLE_DRIVE[name]
        fetch(RemoteFile(self._folder / name, md5, google_drive(identifier)))
        return self._folder / name

    def _take_split(self, images: _Folder | _Archive, path: Path, split: str) -> list[str]:
        _, rows = read_list(path)
        _check_rows(path, rows, images, set(_SPLITS.values()))
        return [name for name in images.names if rows[name[:6]] == [split]]

    def _read_attributes(self, images: _Folder | _Archive, path: Path) -> list[Any]:
        """Return the class of each image, or its attributes."""
        known, rows = read_list(path)
        _check_rows(path, rows, images, {"-1", "1"})
        if self.config.attribute is not None:
            column = _column(known, self.config.attribute, "attribute")
            return [int(rows[name[:6]][column] == "1") for name in self._names]
        wanted = known if self.config.attributes == "all" else self.config.attributes
        columns = [_column(known, each, "attributes") for each in wanted]
        self._attributes = tuple(wanted)
        return [[float(rows[name[:6]][column] == "1") for column in columns] for name in self._names]


def _why(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or first_line(error)


def _column(known: list[str], attribute: str, option: str) -> int:
    if attribute not in known:
        by_lower = {name.lower(): name for name in known}
        asked = attribute.lower().replace(" ", "_")
        near = [by_lower[key] for key in difflib.get_close_matches(asked, by_lower, n=1, cutoff=0.6)]
        hint = f'did you mean "{near[0]}"?' if near else f"it has {', '.join(known)}"
        raise DataError(f'dataset.{option}: CelebA has no attribute "{attribute}"; {hint}')
    return known.index(attribute)


def find_images(root: Path) -> tuple[list[_Folder | _Archive], list[str]]:
    """Return every place at or under `root` with CelebA's images, and what is wrong with the others.

    Reading the names in an archive takes a second: one that is the only place is returned unread, so that a run whose
    pack is ready starts at once.

    Raises:
        DataError: the only place is an archive that is damaged.
    """
    places = [_Archive(place) if place.is_file() else _Folder(place) for place in _places(root)]
    places = [each for each in places if isinstance(each, _Archive) or each.names or each.place.name == IMAGES]
    if len(places) == 1 and isinstance(places[0], _Archive):
        return list(places), []
    found: list[_Folder | _Archive] = []
    problems: list[str] = []
    for each in places:
        try:
            check_some(each)
            found.append(each)
        except DataError as error:
            problems.append(str(error))
    return found, problems


def check_some(images: _Folder | _Archive) -> None:
    """Raise DataError unless there are images."""
    if not images.names:
        raise DataError(f"{images.place} holds no CelebA images (000001.jpg and so on)")


def find_list(name: str, root: Path, place: Path, purpose: str) -> Path:
    """Return the path of the list `name` near the images, as text or as Kaggle's CSV.

    Raises:
        DataError: it is not there; the text says where to put it.
    """
    bases = (path if path.is_dir() else path.parent for path in (root, place))
    for base, folder, suffix in product(bases, _LIST_FOLDERS, (".txt", ".csv")):
        path = Path(os.path.normpath(base / folder / f"{name}{suffix}"))
        if path.is_file():
            return path
    raise DataError(
        f"{purpose} needs CelebA's {name}.txt (or Kaggle's {name}.csv), which is not there: "
        f"put it into {place.parent}, beside the images"
    )


def read_list(path: Path) -> tuple[list[str], dict[str, list[str]]]:
    """Return the names of a list's columns, and the values of each image by its number ("000001").

    Raises:
        DataError: the file has no line about an image, or lines of different lengths.
    """
    header: list[str] = []
    rows: dict[str, list[str]] = {}
    for line in read_bytes(path).decode(errors="replace").splitlines():
        first, *values = re.split(r"[,\s]+", line.strip())
        if _IMAGE_NAME.fullmatch(first):
            rows[first[:6]] = values
        elif not rows:
            header = [first, *values]
    if not rows:
        kind = "a web page" if is_web_page(path) else "damaged"
        raise DataError(f"{path} is {kind}, not CelebA's list, as it names no image: download it again")
    columns = len(next(iter(rows.values())))
    for name, values in rows.items():
        if len(values) != columns or not columns:
            raise DataError(
                f"{path} has {len(values)} values for the image {name}, and {columns} for the first: "
                f"it is damaged or not whole: download it again"
            )
    return header[-columns:], rows


def _check_rows(path: Path, rows: dict[str, list[str]], images: _Folder | _Archive, known: set[str]) -> None:
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


def _places(root: Path) -> list[Path]:
    if root.is_file():
        return [root]
    folders = [root / parent / IMAGES for parent in _PARENTS]
    folders = [folder / IMAGES if (folder / IMAGES).is_dir() else folder for folder in folders]
    archives = [root / parent / ARCHIVE for parent in _PARENTS]
    return [root, *filter(Path.is_dir, folders), *filter(Path.is_file, archives)]


class _Folder:
    def __init__(self, place: Path) -> None:
        self.place = place
        files: list[tuple[str, int, int]] = []
        if place.is_dir():
            with os.scandir(place) as entries:
                files = sorted(
                    (entry.name, fact.st_size, fact.st_mtime_ns)
                    for entry in entries
                    if _IMAGE_NAME.fullmatch(entry.name) and entry.is_file()
                    for fact in [entry.stat()]
                )
        self.names = [name for name, *_ in files]
        self.info = [*files, *some_contents([place / name for name in self.names])]

    def read_image(self, name: str) -> bytes:
        return read_bytes(self.place / name)


class _Archive(Archive):
    """The images in the archive, whatever folders they lie in."""

    encrypted_cure = f"unpack it with its password, to {IMAGES}/ beside it, and remove it"

    def __init__(self, place: Path) -> None:
        super().__init__(place, _LARGEST_IMAGE)
        self.info = file_info([place])

    @cached_property
    def names(self) -> list[str]:
        return sorted(self._images)

    def read_image(self, name: str) -> bytes:
        return self.read(self._images[name])

    def damage(self) -> str:
        if is_web_page(self.place):
            return (
                f"{self.place} is a web page and not the archive, likely Google Drive's notice that its quota "
                f"is used up: remove it and download {ARCHIVE} (1.4 GB) later, or from another place"
            )
        return (
            f"{self.place} is damaged or only partly downloaded, with {self.place.stat().st_size / 1e6:,.0f} MB "
            f"of about 1,443 MB: download it again"
        )

    @cached_property
    def _images(self) -> dict[str, zipfile.ZipInfo]:
        named = ((PurePosixPath(name).name, member) for name, member in self.members.items())
        return {name: member for name, member in reversed([*named]) if _IMAGE_NAME.fullmatch(name)}
