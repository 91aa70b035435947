"""Find and read CelebA's images and lists on the disk."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import Protocol

from ganzoo.errors import DataError

IMAGES = "img_align_celeba"
ARCHIVE = f"{IMAGES}.zip"
PARTITION = "list_eval_partition"
ATTRIBUTES = "list_attr_celeba"

_IMAGE_NAME = re.compile(r"\d{6}\.(jpg|png)", re.IGNORECASE)
_LARGEST_IMAGE = 64 * 1024 * 1024
_ENCRYPTED = 1
# Layouts of the zip, torchvision and the official site; in Kaggle's, the image folder holds one of the same name.
_PARENTS = ("", "celeba", "Img")
_LIST_FOLDERS = ("", "celeba", "Anno", "Eval", "..", "../Anno", "../Eval", "../..", "../../Anno", "../../Eval")


class FoundImages(Protocol):
    """CelebA's images in one place."""

    @property
    def place(self) -> Path:
        """The folder or the archive."""
        ...

    @property
    def info(self) -> Sequence[object]:
        """Values that change when an image does."""
        ...

    @property
    def names(self) -> list[str]:
        """File names without folders, sorted."""
        ...

    def read(self, name: str) -> bytes:
        """Return a file's bytes; called from many threads."""
        ...


def find_images(root: Path) -> tuple[list[FoundImages], list[str]]:
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
    found: list[FoundImages] = []
    problems: list[str] = []
    for each in places:
        try:
            check_some(each)
            found.append(each)
        except DataError as error:
            problems.append(str(error))
    return found, problems


def check_some(images: FoundImages) -> None:
    """Raise DataError unless there are images."""
    if not images.names:
        raise DataError(f"{images.place} holds no CelebA images (000001.jpg and so on)")


def find_list(name: str, root: Path, place: Path, purpose: str) -> Path:
    """Return the path of the list `name` near the images, as text or as Kaggle's CSV.

    Raises:
        DataError: it is not there; the text says where to put it.
    """
    for base in (root if root.is_dir() else root.parent, place if place.is_dir() else place.parent):
        for folder in _LIST_FOLDERS:
            for suffix in (".txt", ".csv"):
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
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        first, *values = re.split(r"[,\s]+", line.strip())
        if _IMAGE_NAME.fullmatch(first):
            rows[first[:6]] = values
        elif not rows:
            header = [first, *values]
    if not rows:
        kind = "a web page" if _is_web_page(path) else "damaged"
        raise DataError(f"{path} is {kind}, not CelebA's list, as it names no image: download it again")
    columns = len(next(iter(rows.values())))
    for name, values in rows.items():
        if len(values) != columns or not columns:
            raise DataError(
                f"{path} has {len(values)} values for the image {name}, and {columns} for the first: "
                f"it is damaged or not whole: download it again"
            )
    return header[-columns:], rows


def _places(root: Path) -> list[Path]:
    if root.is_file():
        return [root]
    folders = []
    for parent in _PARENTS:
        folder = root / parent / IMAGES
        inner = folder / IMAGES
        folders.append(inner if inner.is_dir() else folder)
    archives = [root / parent / ARCHIVE for parent in _PARENTS]
    return [
        root,
        *(path for path in folders if path.is_dir()),
        *(path for path in archives if path.is_file()),
    ]


class _Folder:
    def __init__(self, place: Path) -> None:
        self.place = place
        self.info: list[tuple[str, int, int]] = []
        if place.is_dir():
            with os.scandir(place) as entries:
                self.info = sorted(
                    (entry.name, fact.st_size, fact.st_mtime_ns)
                    for entry in entries
                    if _IMAGE_NAME.fullmatch(entry.name) and entry.is_file()
                    for fact in [entry.stat()]
                )
        self.names = [name for name, *_ in self.info]

    def read(self, name: str) -> bytes:
        return (self.place / name).read_bytes()


class _Archive:
    """The images in a zip, read only into memory, so that no name in it becomes a path on the disk."""

    def __init__(self, place: Path) -> None:
        self.place = place
        fact = place.stat()
        self.info = [(place.name, fact.st_size, fact.st_mtime_ns)]
        self._lock = Lock()

    @cached_property
    def names(self) -> list[str]:
        return sorted(self._members)

    def read(self, name: str) -> bytes:
        member = self._members[name]
        if member.file_size > _LARGEST_IMAGE:
            raise ValueError(f"{member.file_size / 1e6:,.0f} MB unpacked is too large for one of these images")
        with self._lock:
            return self._archive.read(member)

    @cached_property
    def _archive(self) -> zipfile.ZipFile:
        try:
            return zipfile.ZipFile(self.place)
        except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError) as error:
            if _is_web_page(self.place):
                raise DataError(
                    f"{self.place} is a web page and not the archive, likely Google Drive's notice that its quota "
                    f"is used up: remove it and download {ARCHIVE} (1.4 GB) later, or from another place"
                ) from error
            raise DataError(
                f"{self.place} is damaged or only partly downloaded, with {self.place.stat().st_size / 1e6:,.0f} MB "
                f"of about 1,443 MB: download it again"
            ) from error

    @cached_property
    def _members(self) -> dict[str, zipfile.ZipInfo]:
        members: dict[str, zipfile.ZipInfo] = {}
        for member in self._archive.infolist():
            name = PurePosixPath(member.filename.replace("\\", "/")).name  # some programs on Windows write \
            if _IMAGE_NAME.fullmatch(name) and not member.is_dir():
                members.setdefault(name, member)
        if any(member.flag_bits & _ENCRYPTED for member in members.values()):
            raise DataError(
                f"{self.place} is encrypted: unpack it with its password, to {IMAGES}/ beside it, and remove it"
            )
        return members


def _is_web_page(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(512).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")
