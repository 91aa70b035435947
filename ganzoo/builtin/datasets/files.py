"""Image files: the readable formats, their decoding, and images read one by one."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from ganzoo.components.dataset import Dataset, Label, Sample
from ganzoo.components.options import ImageDatasetConfig
from ganzoo.data.transforms import decoding_scale, frame_count, mark_decoded_smaller, mark_frames
from ganzoo.errors import DataError
from ganzoo.storage.disk import expand_user
from ganzoo.untrusted import open_file, read_bytes

try:
    import simplejpeg
except ImportError:
    simplejpeg = None

# PIL runs Ghostscript for EPS, needs a handler of its own for the data formats, and only recognizes MPEG.
_LEFT_OUT = {"EPS", "WMF", "BUFR", "GRIB", "HDF5", "MPEG"}
_LARGEST_FILE = 1024**3
ARRAYS = frozenset((".npy", ".npz"))
"""Suffixes of files with arrays."""
_ENCRYPTED = 1
_SEEKING = {"GIF", "TIFF"}
"""Formats of which PIL counts the frames by reading them all, so not with an image that is to be loaded."""
_START = b"\xff\xd8\xff"
_APP1 = b"\xff\xe1"
_SPACES = {"YCbCr": "RGB", "RGB": "RGB", "Gray": "GRAY"}


@dataclass(frozen=True)
class LabeledImages:
    """Images that are read one by one, by their index and from several threads, and their labels."""

    targets: Sequence[Any]
    read: Callable[[int], Sample]

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Sample, Label]:
        label = self.targets[index]
        return self.read(index), label


class FileDataset(Dataset):
    """A dataset of files under one folder."""

    @property
    def root(self) -> Path:
        """The folder or file that `dataset.root` names."""
        return expand_user(self.config.root)


def file_info(paths: Iterable[Path]) -> list[tuple[str, int, int]]:
    """Return the name, size in bytes and time in ns of each file."""
    return [(path.name, fact.st_size, fact.st_mtime_ns) for path in paths for fact in [path.stat()]]


def decode_image(data: bytes, config: ImageDatasetConfig | None = None, frame: int | None = None) -> Image.Image:
    """Decode the image, or one of its frames, in the bytes of a file.

    Args:
        data: the bytes.
        config: of the dataset; its `fast_decode` may have a JPEG decoded smaller. Left out: full size.
        frame: which of the images in the file; left out: the first, marked with their number.

    Raises:
        PIL.UnidentifiedImageError, OSError, EOFError: the bytes are no image, or a damaged one.
        ValueError: the file is empty.
    """
    if not data:
        raise ValueError("the file is empty")
    by_turbo = decode_with_simplejpeg(data, config)
    if by_turbo is not None:
        return by_turbo
    image = Image.open(io.BytesIO(data), formats=readable_formats())
    if config is not None and isinstance(image, JpegImageFile):
        (width, height), scale = image.size, decoding_scale(image.size, config)
        if scale > 1 and image.draft(None, (width // scale, height // scale)):
            mark_decoded_smaller(image, scale, (width, height))
    if frame is None:
        mark_frames(image, count_frames(data) if image.format in _SEEKING else frame_count(image))
    else:
        image.seek(frame)
    image.load()
    if frame is not None:
        mark_frames(image, 1)  # seeking reads the frame's own info
    return image


def count_frames(data: bytes) -> int:
    """Return the number of images in the bytes of a file; 1 where these are none, which decoding reports."""
    try:
        return frame_count(Image.open(io.BytesIO(data), formats=readable_formats()))
    except Exception:  # PIL raises many types
        return 1


def decode_with_simplejpeg(data: bytes, config: ImageDatasetConfig | None = None) -> Image.Image | None:
    """Decode the bytes of a JPEG, smaller where the dataset's `fast_decode` allows.

    Both libraries call libjpeg-turbo, so the pixels are the same; only PIL's own parsing of the file is skipped.

    Returns:
        The image in RGB or gray; None where PIL has to decode it: without simplejpeg, and for other formats, other
        color spaces, EXIF or XMP (which may ask for a rotation), sizes that PIL warns of, and data that libjpeg
        warns of.
    """
    if simplejpeg is None or not data.startswith(_START) or _APP1 in data:
        return None
    try:
        height, width, stored, _ = simplejpeg.decode_jpeg_header(data)
        space = _SPACES.get(stored)
        if space is None or height * width > (Image.MAX_IMAGE_PIXELS or 0):
            return None
        scale = 1 if config is None else decoding_scale((width, height), config)
        smaller = -(-height // scale), -(-width // scale)
        pixels = simplejpeg.decode_jpeg(data, space, min_height=smaller[0], min_width=smaller[1], min_factor=1)
    except ValueError:
        return None
    if pixels.shape[:2] != smaller:
        return None
    image = Image.fromarray(pixels if space == "RGB" else pixels[:, :, 0])
    image.format = "JPEG"
    if scale > 1:
        mark_decoded_smaller(image, scale, (width, height))
    return image


def read_image(path: Path, config: ImageDatasetConfig | None = None) -> Image.Image:
    """Read an image file, decode it as `decode_image` does, and close it.

    Raises:
        PIL.UnidentifiedImageError, OSError: the file cannot be opened, is no regular file (but a pipe, say), is larger
            than a gigabyte, or is no image, or a damaged one.
        ValueError: it is empty.
    """
    return decode_image(read_file(path, config), config)


def read_file(path: Path, config: ImageDatasetConfig | None = None) -> bytes:
    """Read a file of at most a gigabyte, or of eight bytes for each of the dataset's `max_pixels`.

    Raises:
        OSError: it cannot be read, or is no regular file.
        ValueError: it is larger.
    """
    largest = max(_LARGEST_FILE, 8 * ((config and config.max_pixels) or 0))
    if path.stat().st_size > largest:
        raise ValueError("the file is larger than a gigabyte: set dataset.max_pixels where it is what it should be")
    return read_bytes(path, largest)


def decode_array(data: bytes, suffix: str, bands: Sequence[int] | None = None) -> npt.NDArray[Any]:
    """Decode the array of a `.npy` file, or the only one of a `.npz` file, and take these of its channels.

    Raises:
        OSError, ValueError: the file is damaged, holds objects or several arrays, or has no such channel.
    """
    if suffix.lower() == ".npz":
        try:
            archive = zipfile.ZipFile(io.BytesIO(data))
            names = archive.namelist()
            if len(names) != 1:
                raise ValueError(f"holds {len(names)} arrays ({', '.join(names[:5])}): leave one in it")
            if archive.getinfo(names[0]).file_size > _LARGEST_FILE:
                raise ValueError("the array is larger than a gigabyte")
            data = archive.read(names[0])
        except zipfile.BadZipFile as error:
            raise ValueError("is not a file that numpy.savez makes") from error
    array: npt.NDArray[Any] = np.load(io.BytesIO(data), allow_pickle=False)
    if bands is None:
        return array
    if array.ndim != 3 or max(bands) >= array.shape[2]:
        raise ValueError(f"is an array of shape {array.shape}, which has no channels {list(bands)} in its last axis")
    return array[:, :, list(bands)]


class Archive:
    """The files in a zip, read only into memory, so that no name in it becomes a path on the disk.

    Args:
        place: the zip.
        largest: most bytes that a file in it may unpack to.
    """

    def __init__(self, place: Path, largest: int) -> None:
        self.place = place
        self._largest = largest
        self._lock = Lock()

    def read(self, member: zipfile.ZipInfo) -> bytes:
        """Return the bytes of a file.

        Raises:
            ValueError: it is too large.
        """
        if member.file_size > self._largest:
            raise ValueError(f"{member.file_size / 1e6:,.0f} MB unpacked is too large for one of these images")
        with self._lock:
            return self._archive.read(member)

    @cached_property
    def members(self) -> dict[str, zipfile.ZipInfo]:
        """The files by their names in it, with `/` between folders, of equal ones the first.

        Raises:
            DataError: the zip is damaged or encrypted.
        """
        members: dict[str, zipfile.ZipInfo] = {}
        for member in self._archive.infolist():
            if not member.is_dir():  # some programs on Windows write \
                members.setdefault(member.filename.replace("\\", "/").lstrip("/"), member)
        if any(member.flag_bits & _ENCRYPTED for member in members.values()):
            raise DataError(f"{self.place} is encrypted: {self.encrypted_cure}")
        return members

    encrypted_cure = "unpack it with its password, and set dataset.root to the folder"

    @cached_property
    def _archive(self) -> zipfile.ZipFile:
        try:
            return zipfile.ZipFile(self.place)
        except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError) as error:
            raise DataError(self.damage()) from error

    def damage(self) -> str:
        """Return what is wrong with a file that is no zip, and the cure."""
        what = "is a web page and not the archive" if is_web_page(self.place) else "is damaged, or no zip archive"
        return f"{self.place} {what}: download it again"


def is_web_page(path: Path) -> bool:
    """Return whether a file begins like a web page, as a download may that was refused."""
    with open_file(path) as file:
        return file.read(512).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")


@cache
def readable_formats() -> tuple[str, ...]:
    """Return the formats, by PIL's names, that PIL reads by itself, common ones first, as it tries them in order."""
    Image.init()
    readable = set(Image.OPEN) - _LEFT_OUT
    common = [name for name in ("JPEG", "PNG", "WEBP") if name in readable]
    return (*common, *sorted(readable.difference(common)))


@cache
def readable_suffixes() -> frozenset[str]:
    """Return the suffixes of these formats, in lower case and with their dot."""
    formats = set(readable_formats())
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in formats)
