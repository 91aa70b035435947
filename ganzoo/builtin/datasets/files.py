"""Image files: the readable formats, their decoding, and images read one by one."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from ganzoo.components.dataset import Dataset, Label, Sample
from ganzoo.components.options import ImageDatasetConfig
from ganzoo.data.transforms import decoding_scale, mark_decoded_smaller
from ganzoo.storage.disk import expand_user
from ganzoo.untrusted import read_bytes

try:
    import simplejpeg
except ImportError:
    simplejpeg = None

# PIL runs Ghostscript for EPS, needs a handler of its own for the data formats, and only recognizes MPEG.
_LEFT_OUT = {"EPS", "WMF", "BUFR", "GRIB", "HDF5", "MPEG"}
_LARGEST_FILE = 1024**3
ARRAYS = frozenset((".npy", ".npz"))
"""Suffixes of files with arrays."""
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


def decode_image(data: bytes, config: ImageDatasetConfig | None = None) -> Image.Image:
    """Decode the image, or the first of its frames, in the bytes of a file.

    Args:
        data: the bytes.
        config: of the dataset; its `fast_decode` may have a JPEG decoded smaller. Left out: full size.

    Raises:
        PIL.UnidentifiedImageError, OSError: the bytes are no image, or a damaged one.
        ValueError: the file is empty.
    """
    if not data:
        raise ValueError("the file is empty")
    by_turbo = decode_with_simplejpeg(data, config)
    if by_turbo is not None:
        return by_turbo
    image = Image.open(io.BytesIO(data), formats=readable_formats())
    if config is not None and isinstance(image, JpegImageFile):
        _decode_smaller(image, config)
    image.load()
    return image


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


def _decode_smaller(image: JpegImageFile, config: ImageDatasetConfig) -> None:
    width, height = image.size
    scale = decoding_scale(image.size, config)
    if scale > 1 and image.draft(None, (width // scale, height // scale)):
        mark_decoded_smaller(image, scale, (width, height))


def read_image(path: Path, config: ImageDatasetConfig | None = None) -> Image.Image:
    """Read an image file, decode it as `decode_image` does, and close it.

    Raises:
        PIL.UnidentifiedImageError, OSError: the file cannot be opened, is no regular file (but a pipe, say), is larger
            than a gigabyte, or is no image, or a damaged one.
        ValueError: it is empty.
    """
    return decode_image(_read(path), config)


def _read(path: Path) -> bytes:
    return read_bytes(path, _LARGEST_FILE)


def read_deep(path: Path) -> npt.NDArray[np.uint16]:
    """Read an image file as an array (H, W) or (H, W, C) of 16 bits, to which 8 bits are spread.

    Raises:
        PIL.UnidentifiedImageError, OSError, ValueError: as `read_image` does.
    """
    image = read_image(path)
    if not image.mode.startswith("I") and image.mode not in ("L", "LA", "RGB", "RGBA"):
        image = image.convert("RGB")
    pixels = np.asarray(image)
    scale = 257 if pixels.dtype == np.uint8 else 1
    if pixels.min() < 0 or pixels.max() > 65535:
        raise ValueError(f"its values run from {pixels.min()} to {pixels.max()}, beyond 16 bits")
    deep: npt.NDArray[np.uint16] = pixels.astype(np.uint16) * np.uint16(scale)
    return deep


def read_array(path: Path, bands: Sequence[int] | None = None) -> npt.NDArray[Any]:
    """Read the array in a `.npy` file, or the only one in a `.npz` file, and take these of its channels.

    Raises:
        OSError, ValueError: the file is damaged, holds objects or several arrays, or has no such channel.
    """
    data = _read(path)
    if path.suffix.lower() == ".npz":
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


def in_range(array: npt.NDArray[Any], value_range: tuple[float, float] | None) -> npt.NDArray[Any]:
    """Scale values so that those of the range run from −1 to 1; None leaves them as they are."""
    if value_range is None:
        return array
    low, high = value_range
    return ((array.astype(np.float32) - low) * (2 / (high - low)) - 1).clip(-1, 1)


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
