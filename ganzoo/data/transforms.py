"""Transforms of one stored image to the pixels that the networks see: mode, crop, size."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageOps

from ganzoo.components.options import DatasetConfig

_FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
    "nearest": Image.Resampling.NEAREST,
}
_BACKGROUND = (255, 255, 255, 255)
_ALPHA_MODES = ("RGBA", "RGBa", "LA", "La", "PA")
_MOST_PIXELS = 2 * (Image.MAX_IMAGE_PIXELS or 2**26)
"""Number of pixels above which PIL refuses to open an image; no transform makes a larger one either."""


_Box = tuple[int, int, int, int]

_REDUCED = "ganzoo:reduced"
"""Key in `Image.info` of an image decoded at a reduced size: (factor, full size)."""
_MARGIN = 1.25
"""Least factor by which a JPEG decoded at a reduced size must still be shrunk: its pixels are means of whole blocks,
and the more of them the resize filter averages, the less its result differs from that of the full image."""


class TooSmallError(ValueError):
    """An image is smaller than the crop."""


def decoding_scale(size: tuple[int, int], config: DatasetConfig) -> int:
    """Return the factor, 1, 2, 4 or 8, by which a JPEG of this size may be decoded smaller under `fast_decode`.

    It is above 1 only where the image is still to be shrunk by a quarter afterwards, so never where pixels are
    taken as they are, as by `crop = 64` from images of 64 pixels.
    """
    if not config.fast_decode:
        return 1
    shrunk = min(size) / config.resize_first if config.resize_first else 1 / enlargement(size, config)
    return next((scale for scale in (8, 4, 2) if shrunk >= scale * _MARGIN), 1)


def mark_decoded_smaller(image: Image.Image, scale: int, size: tuple[int, int]) -> None:
    """Record for `to_pixels` that an image was decoded `scale` times smaller than its full `size`."""
    image.info[_REDUCED] = scale, size


def to_pixels(image: Image.Image, config: DatasetConfig) -> npt.NDArray[np.uint8]:
    """Turn an image upright, convert, crop and resize it.

    In this order: EXIF orientation; conversion to gray or RGB, with transparent parts over white and
    16-bit grays at their whole range; `resize_first`; `crop`; resize to `image_size`. Offsets and sizes
    are rounded as in torchvision's `Resize` and `CenterCrop`, so `resize_first=64, crop=64` gives their
    exact pixels.

    Args:
        image: of any mode; only its first frame is used; it may be marked by `mark_decoded_smaller`.
        config: the dataset's options.

    Returns:
        (image_size, image_size, channels), 0 to 255.

    Raises:
        TooSmallError: the image is smaller than the crop.
        ValueError: its mode has no defined range, or it is too long a strip for `resize_first`.
        OSError: the image's data is damaged.
    """
    scale, size = image.info.get(_REDUCED, (1, image.size))
    image = _convert(_upright(image), "L" if config.channels == 1 else "RGB")
    if image.width != math.ceil(size[0] / scale):
        size = size[::-1]  # turned by its EXIF orientation
    resampling = _FILTERS[config.resize]
    box = (0, 0, *size)
    if config.resize_first is not None:
        size = _shorter_side_to(size, config.resize_first)
        if size[0] * size[1] > _MOST_PIXELS:
            raise ValueError(f"{box[2]}×{box[3]} pixels are too long a strip for resize_first")
        image, scale, box = _resize(image, size, resampling, box, scale), 1, (0, 0, *size)
    if config.crop != "none":
        box = _center_box(size, min(size) if config.crop == "square" else config.crop, config)
    image = _resize(image, (config.image_size, config.image_size), resampling, box, scale)
    pixels = np.asarray(image, dtype=np.uint8)
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


def enlargement(size: tuple[int, int], config: DatasetConfig) -> float:
    """Return the factor by which the transforms enlarge an image of this size; below 1 where they shrink it."""
    shorter = min(size)
    before = 1.0 if config.resize_first is None else config.resize_first / shorter
    cropped = config.crop if isinstance(config.crop, int) else before * shorter
    return before * config.image_size / cropped


def _upright(image: Image.Image) -> Image.Image:
    image.load()
    try:
        if image.getexif().get(ExifTags.Base.Orientation, 1) == 1:
            return image  # PIL would copy it
        return ImageOps.exif_transpose(image)
    except Exception:  # a camera's broken EXIF block must not cost a good picture, and PIL raises many types here
        return image


def _convert(image: Image.Image, mode: str) -> Image.Image:
    if image.mode == "F" or image.mode.startswith("I"):
        image = _to_eight_bits(image)
    if image.mode in _ALPHA_MODES or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, _BACKGROUND), image)
    return image if image.mode == mode else image.convert(mode)


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Scale 16-bit grays, and floats between 0 and 1, to 8 bits; PIL itself would clip them at 255."""
    values = np.asarray(image).astype(np.float64)
    top = 1.0 if image.mode == "F" else 65535.0
    if not (values.min() >= 0 and values.max() <= top):
        raise ValueError(
            f"its gray values (PIL mode {image.mode}) run from {values.min():g} to {values.max():g}; "
            f"those that can be read lie between 0 and {top:g}"
        )
    return Image.fromarray(np.rint(values * (255.0 / top)).astype(np.uint8))


def _shorter_side_to(size: tuple[int, int], side: int) -> tuple[int, int]:
    width, height = size
    if width <= height:
        return side, max(1, int(side * height / width))
    return max(1, int(side * width / height)), side


def _center_box(size: tuple[int, int], side: int, config: DatasetConfig) -> _Box:
    width, height = size
    if side > min(width, height):
        when = "" if config.resize_first is None else f" after resize_first = {config.resize_first}"
        raise TooSmallError(f"{width}×{height} pixels{when} is smaller than the crop of {side}")
    left, top = round((width - side) / 2), round((height - side) / 2)
    return left, top, left + side, top + side


def _resize(
    image: Image.Image, size: tuple[int, int], resampling: Image.Resampling, box: _Box, scale: int
) -> Image.Image:
    """Resize the part of an image inside `box`, whose edges are given in an image `scale` times as large."""
    if scale > 1:
        left, top, right, bottom = (edge / scale for edge in box)
        return image.resize(size, resampling, box=(left, top, right, bottom))
    if box != (0, 0, *image.size):  # else PIL would copy it
        image = image.crop(box)
    return image if image.size == size else image.resize(size, resampling)
