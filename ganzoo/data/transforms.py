"""The way of one image from its file to the pixels that the networks see: mode, crop, size."""

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
"""Where PIL refuses to open an image; nor is one made larger than that on its way."""


_Box = tuple[int, int, int, int]

_REDUCED = "ganzoo:reduced"
"""Where an image that was decoded smaller says how many times, and how large it is as a whole."""
_MARGIN = 1.25
"""How much is left to shrink, at least, after a JPEG was decoded smaller: its pixels are means of whole blocks, and
what the filter of the resize gives differs from these the less, the more of them it takes together."""


class TooSmallError(ValueError):
    """An image is smaller than the crop."""


def decoding_scale(size: tuple[int, int], config: DatasetConfig) -> int:
    """By what factor, 1, 2, 4 or 8, a JPEG of this size may be decoded smaller where `fast_decode` allows.

    Never where the pixels are taken as they are, as by `crop = 64` for images of 64 pixels: only if they
    are still to be shrunk by a quarter after it.
    """
    if not config.fast_decode:
        return 1
    shrunk = min(size) / config.resize_first if config.resize_first else 1 / enlargement(size, config)
    return next((scale for scale in (8, 4, 2) if shrunk >= scale * _MARGIN), 1)


def mark_decoded_smaller(image: Image.Image, scale: int, size: tuple[int, int]) -> None:
    """Tell `to_pixels` that an image was decoded so many times smaller, and how large it is as a whole."""
    image.info[_REDUCED] = scale, size


def to_pixels(image: Image.Image, config: DatasetConfig) -> npt.NDArray[np.uint8]:
    """Turn an image upright, convert, crop and resize it.

    In this order: EXIF orientation; conversion to gray or RGB, where transparent parts show white,
    as on a page, and 16-bit grays keep their whole range; `resize_first`; `crop`; resize to
    `image_size`. Offsets and sizes are rounded as torchvision's `Resize` and `CenterCrop` round them,
    so `resize_first=64, crop=64` gives their very pixels.

    Args:
        image: of any mode; its first frame if it has several; one marked by `mark_decoded_smaller` is taken so.
        config: the dataset's options.

    Returns:
        (image_size, image_size, channels), 0 to 255.

    Raises:
        TooSmallError: the image is smaller than the crop.
        ValueError: its mode has no defined range, or its shape no sensible size after `resize_first`.
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
    """By what factor an image of this size is enlarged on its way; below 1 where it is shrunk."""
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
    """The part of an image in a box, whose edges are those in an image `scale` times as large, in another size."""
    if scale > 1:
        left, top, right, bottom = (edge / scale for edge in box)
        return image.resize(size, resampling, box=(left, top, right, bottom))
    if box != (0, 0, *image.size):  # else PIL would copy it
        image = image.crop(box)
    return image if image.size == size else image.resize(size, resampling)
