"""Where CelebA's images and lists lie on people's disks, and how they are read from there."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from threading import Lock

from ganzoo.errors import DataError

IMAGES = "img_align_celeba"
ARCHIVE = f"{IMAGES}.zip"
PARTITION = "list_eval_partition"
ATTRIBUTES = "list_attr_celeba"

_IMAGE_NAME = re.compile(r"\d{6}\.(jpg|png)", re.IGNORECASE)
_LARGEST_IMAGE = 64 * 1024 * 1024
# The zip's own folder, torchvision's, the official site's, and Kaggle's that holds itself.
_PARENTS = ("", "celeba", "Img")
_LIST_FOLDERS = ("", "celeba", "Anno", "Eval", "..", "../Anno", "../Eval", "../..", "../../Anno", "../../Eval")


@dataclass(frozen=True)
class FoundImages:
    """CelebA's images in one place.

    Attributes:
        place: the folder or the archive.
        names: file names without folders, sorted.
        facts: a line of values for each name, that change when the file does.
        read: gives a file's bytes by its name; may be called from many threads.
    """

    place: Path
    names: list[str]
    facts: list[tuple[object, ...]]
    read: Callable[[str], bytes]


def find_images(root: Path) -> tuple[list[FoundImages], list[str]]:
    """Every place at or under `root` that has CelebA's images, and what is wrong with those that have not."""
    found: list[FoundImages] = []
    problems: list[str] = []
    for place in _places(root):
        try:
            images = _in_archive(place) if place.is_file() else _in_folder(place)
        except DataError as error:
            problems.append(str(error))
            continue
        if images.names:
            found.append(images)
        elif place != root or root.name == IMAGES:
            problems.append(f"{place} holds no CelebA images (000001.jpg and so on)")
    return found, problems


def find_list(name: str, root: Path, place: Path, purpose: str) -> Path:
    """The list `name` as text or, from Kaggle, as CSV, near the images.

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
    """The names of a list's columns, and the values of each image by its number ("000001").

    Raises:
        DataError: the file has no line about an image.
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


def _in_folder(folder: Path) -> FoundImages:
    if not folder.is_dir():
        return FoundImages(folder, [], [], lambda _: b"")
    with os.scandir(folder) as entries:
        facts = sorted(
            (entry.name, fact.st_size, fact.st_mtime_ns)
            for entry in entries
            if _IMAGE_NAME.fullmatch(entry.name) and entry.is_file()
            for fact in [entry.stat()]
        )
    return FoundImages(folder, [name for name, *_ in facts], list(facts), lambda name: (folder / name).read_bytes())


def _in_archive(path: Path) -> FoundImages:
    """The images in a zip; they are only ever read into memory, so no name in it can reach the disk."""
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, EOFError, ValueError) as error:
        if _is_web_page(path):
            raise DataError(
                f"{path} is a web page and not the archive, likely Google Drive's notice that its quota is "
                f"used up: remove it and download {ARCHIVE} (1.4 GB) later, or from another place"
            ) from error
        raise DataError(
            f"{path} is damaged or only partly downloaded, with {path.stat().st_size / 1e6:,.0f} MB of about "
            f"1,443 MB: download it again"
        ) from error
    members: dict[str, zipfile.ZipInfo] = {}
    for member in archive.infolist():
        name = PurePosixPath(member.filename).name
        if _IMAGE_NAME.fullmatch(name) and not member.is_dir():
            members.setdefault(name, member)
    lock = Lock()

    def read(name: str) -> bytes:
        if members[name].file_size > _LARGEST_IMAGE:
            raise ValueError(f"{members[name].file_size / 1e6:,.0f} MB unpacked is too large for one of these images")
        with lock:
            return archive.read(members[name])

    names = sorted(members)
    return FoundImages(path, names, [(name, members[name].file_size, members[name].CRC) for name in names], read)


def _is_web_page(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(512).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")
