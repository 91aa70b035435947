"""Decode JPEGs with simplejpeg where it is installed: the same pixels as PIL's, with less overhead."""

from __future__ import annotations

from PIL import Image

from ganzoo.components.options import ImageDatasetConfig
from ganzoo.data.transforms import decoding_scale, mark_decoded_smaller

try:
    import simplejpeg
except ImportError:
    simplejpeg = None

_START = b"\xff\xd8\xff"
_APP1 = b"\xff\xe1"
_SPACES = {"YCbCr": "RGB", "RGB": "RGB", "Gray": "GRAY"}


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
