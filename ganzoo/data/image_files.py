"""Image files: the readable formats, and their decoding."""

from __future__ import annotations

import io
import math
from functools import cache
from pathlib import Path

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from ganzoo.components.options import ImageDatasetConfig
from ganzoo.data.transforms import (
    decoding_scale,
    frame_count,
    mark_decoded_smaller,
    mark_frames,
    orientation,
    upright_size,
)
from ganzoo.untrusted import read_bytes

try:
    import simplejpeg
except ImportError:
    simplejpeg = None

# PIL runs Ghostscript for EPS, needs a handler of its own for the data formats, and only recognizes MPEG.
_LEFT_OUT = {"EPS", "WMF", "BUFR", "GRIB", "HDF5", "MPEG"}
_LARGEST_FILE = 1024**3
_SEEKING = {"GIF", "TIFF"}
"""Formats of which PIL counts the frames by reading them all, so not with an image that is to be loaded."""
_START = b"\xff\xd8\xff"
_APP1 = b"\xff\xe1"
_SPACES = {"YCbCr": "RGB", "RGB": "RGB", "Gray": "GRAY"}


def decode_image(data: bytes, config: ImageDatasetConfig | None = None, frame: int | None = None) -> Image.Image:
    """Decode the image, or one of its frames, in the bytes of a file.

    Args:
        data: the bytes.
        config: of the dataset; its `fast_decode` may have a JPEG decoded smaller. Left out: full size.
        frame: which of the images in the file; default: the first, marked with their number.

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
        (width, height), scale = image.size, decoding_scale(upright_size(image), config)
        if orientation(image) != 1:  # the last block, which may reach beyond the image, would become the first
            scale = math.gcd(scale, width, height)
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
    """Return the number of images in the bytes of a file; 1 where it is no image: decoding reports that."""
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


def read_image(path: Path) -> Image.Image:
    """Read an image file of at most a gigabyte at full size; raises as `decode_image` and `read_bytes`."""
    return decode_image(read_bytes(path, _LARGEST_FILE))


@cache
def readable_formats() -> tuple[str, ...]:
    """Return the formats, by PIL's names, that PIL reads by itself, common ones first, as it tries them in order."""
    Image.init()
    readable = set(Image.OPEN) - _LEFT_OUT
    common = [name for name in ("JPEG", "PNG", "WEBP") if name in readable]
    return (*common, *sorted(readable.difference(common)))


@cache
def readable_suffixes() -> frozenset[str]:
    """Return the suffixes of image files that can be read, in lower case and with their dot."""
    formats = set(readable_formats())
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in formats)
