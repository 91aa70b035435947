"""Transforms of one sample as a dataset gives it to the one that is stored: mode, crop, size, type."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageColor, ImageOps

from ganzoo.components.options import DatasetConfig, ImageDatasetConfig, sides
from ganzoo.components.spec import ImageSpec, VectorSpec

_MOST_PIXELS = 2 * (Image.MAX_IMAGE_PIXELS or 2**26)
"""Number of pixels above which PIL refuses to open an image, unless `max_pixels` says otherwise; no transform makes a
larger one either."""
_SET_RANGE = ': set dataset.value_range = [low, high] to what the values can be, or "auto"'

_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
_TOPS = {"uint8": 255, "uint16": 65535}
_GRAY = np.array([0.299, 0.587, 0.114])
"""ITU-R 601-2 luma, as in PIL's conversion of RGB to gray."""

_Box = tuple[int, int, int, int]
Array = npt.NDArray[Any]

_REDUCED = "ganzoo:reduced"
"""Key in `Image.info` of an image decoded at a reduced size: (factor, full size)."""
_QUARTER_TURNS = (5, 6, 7, 8)
"""Values of EXIF's orientation by which width and height change places."""
_MARGIN = 1.25
"""Least factor by which a JPEG decoded at a reduced size must still be shrunk: its pixels are means of whole blocks,
and the more of them the resize filter averages, the less its result differs from that of the full image."""
_FRAMES = "ganzoo:frames"
"""Key in `Image.info` of the number of images in the file that an image is from."""
_FRAMED = {"GIF", "TIFF", "WEBP", "PNG", "AVIF"}
"""Formats whose frames are images of their own; the others of an MPO are previews, those of a PSD its layers."""


class TooSmallError(ValueError):
    """An image is smaller than the crop."""


class ContractError(ValueError):
    """A dataset gives what no dataset may give."""


@contextmanager
def allowed_pixels(config: DatasetConfig) -> Iterator[None]:
    """Have PIL read images of up to `max_pixels` pixels, where the option is set."""
    before, most = Image.MAX_IMAGE_PIXELS, getattr(config, "max_pixels", None)
    if most is not None:
        Image.MAX_IMAGE_PIXELS = most / 2  # PIL refuses more than twice as many
    try:
        with warnings.catch_warnings(category=Image.DecompressionBombWarning, action="ignore"):
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def frame_count(image: Image.Image) -> int:
    """Return the number of images in the file that an image is from; reading one may move to another."""
    if _FRAMES in image.info:
        return int(image.info[_FRAMES])
    try:
        return getattr(image, "n_frames", 1) if image.format in _FRAMED else 1
    except Exception:  # PIL raises many types for what follows the first image
        return 1


def mark_frames(image: Image.Image, count: int) -> None:
    """Record for `frame_count` that an image is one of so many, of which the others are not used."""
    image.info[_FRAMES] = count


def decoding_scale(size: tuple[int, int], config: ImageDatasetConfig) -> int:
    """Return the factor, 1, 2, 4 or 8, by which a JPEG of this upright size may be decoded smaller under `fast_decode`.

    It is above 1 only where the image is still to be shrunk by a quarter afterwards, so never where pixels are
    taken as they are, as by `crop = 64` from images of 64 pixels.
    """
    if not config.fast_decode or config.depth == 16:
        return 1
    shrunk = min(size) / config.resize_first if config.resize_first else 1 / enlargement(size, config)
    return next((scale for scale in (8, 4, 2) if shrunk >= scale * _MARGIN), 1)


def mark_decoded_smaller(image: Image.Image, scale: int, size: tuple[int, int]) -> None:
    """Record for `to_pixels` that an image was decoded `scale` times smaller than its full `size`."""
    image.info[_REDUCED] = scale, size


def to_stored(given: object, config: DatasetConfig, spec: ImageSpec | VectorSpec) -> Array:
    """Turn what a dataset gives for one sample, or for its condition, into what is stored.

    Args:
        given: a PIL image, an array or a sequence of numbers.
        config: the dataset's options.
        spec: shape of the result.

    Returns:
        An image (H, W, C), uint8 from a PIL image unless `depth` is 16, else of the array's type: uint8, uint16 or
        float32 in [−1, 1], with `value_range` float32; or a vector (D,) float32.

    Raises:
        TooSmallError: the image is smaller than the crop.
        ContractError: it is nothing that a dataset may give, or of another shape than it must be.
        ValueError: its values lie outside the range that they must lie in.
        OSError: the image's data is damaged.
    """
    if isinstance(spec, VectorSpec):
        return _to_vector(given, spec)
    assert isinstance(config, ImageDatasetConfig), "conditions that are images need the options of ImageDatasetConfig"
    if isinstance(given, Image.Image):
        if config.depth == 8 or spec.channels not in _MODES:
            return to_pixels(given, config, spec)
        given = _to_sixteen_bits(upright(given), config, spec)
    check_array(given, config, spec)
    assert isinstance(given, np.ndarray), "checked"
    return _to_image(in_range(given, _range(config)), config, spec)


def check_array(given: object, config: ImageDatasetConfig, spec: ImageSpec) -> None:
    """Check that what a dataset gives for an image is an array of a type and shape that fit its options.

    Raises:
        ContractError: it is not; the text says what it must be.
    """
    of_numbers = isinstance(given, np.ndarray) and given.dtype.kind in "biuf"
    if not isinstance(given, np.ndarray) or not (
        given.dtype.name in _TOPS or given.dtype.kind == "f" or (of_numbers and config.value_range is not None)
    ):
        kind = f"an array of {given.dtype}" if isinstance(given, np.ndarray) else f"a {type(given).__name__}"
        raise ContractError(
            f"is {kind}; a dataset of images must give PIL images, or numpy arrays (H, W) or (H, W, C) of uint8, "
            f"uint16 or floats in [−1, 1]"
            + (": set dataset.value_range = [low, high] for other numbers" if of_numbers else "")
        )
    shape, channels = given.shape, spec.channels
    if not given.size:
        raise ContractError(f"is an array of shape {shape}, which holds no pixels")
    last = 1 if len(shape) == 2 else shape[-1]
    if len(shape) not in (2, 3) or (last != channels and {last, channels} != {1, 3}):
        cure = "set dataset.channels to what there is"
        if len(shape) == 4:
            cure = "give each image by itself, not a stack of them"
        elif shape[0] == channels:
            cure = "the channels come last"
        raise ContractError(
            f"is an array of shape {shape}, and must be (H, W, {channels})"
            + (" or (H, W)" if channels == 1 else "")
            + f": {cure}"
        )


def in_range(array: Array, value_range: tuple[float, float] | None) -> Array:
    """Scale values so that those of the range run from −1 to 1; None leaves them as they are."""
    if value_range is None:
        return array
    low, high = value_range
    return ((array.astype(np.float32) - low) * (2 / (high - low)) - 1).clip(-1, 1)


def extremes(given: object, config: ImageDatasetConfig, spec: ImageSpec) -> tuple[float, float]:
    """Return the lowest and the highest finite value of what a dataset gives, as `value_range` takes them.

    Transparent pixels, which nobody sees, do not count.
    """
    if isinstance(given, Image.Image) and _is_deep(given):
        opaque = _opaque(given)
        given = np.asarray(given) if opaque is None else np.asarray(given)[opaque]
    elif isinstance(given, Image.Image):
        pixels = np.asarray(_with_alpha(given, _MODES[spec.channels]))
        given = pixels[pixels[:, :, -1] > 0, :-1]
    values = np.asarray(given)
    values = values[np.isfinite(values)]
    return float(values.min()), float(values.max())


def _range(config: ImageDatasetConfig) -> tuple[float, float] | None:
    if config.value_range == "auto":
        raise ValueError(
            'dataset.value_range is "auto", which takes a whole dataset: set it to [low, high] in the recipe.toml of '
            "the run, whose environment.json says which these were"
        )
    return config.value_range


def _to_vector(given: object, spec: VectorSpec) -> Array:
    try:
        array = np.asarray(None if isinstance(given, Image.Image) else given)
    except (TypeError, ValueError):  # parts of several lengths
        array = np.asarray(None)
    shape = array.shape if array.dtype.kind in "biuf" else ()
    if shape != spec.shape:
        kind = f"of shape {shape}" if shape else f"a {type(given).__name__}"
        raise ContractError(f"is {kind}; a dataset of vectors must give arrays ({spec.size},) of floats")
    vector: Array = array.astype(np.float32)
    if not np.isfinite(vector).all():
        raise ValueError("holds numbers that are not finite")
    return vector


def _to_image(given: Array, config: ImageDatasetConfig, spec: ImageSpec) -> Array:
    """Convert, crop and resize an array, channel by channel with PIL's filters on 32-bit floats."""
    array = given[:, :, None] if given.ndim == 2 else given
    if array.dtype == np.uint8 and array.shape[2] in (1, 3):
        return to_pixels(Image.fromarray(array.squeeze(2) if array.shape[2] == 1 else array), config, spec)
    top = _TOPS.get(array.dtype.name)
    if top is None:
        _check_floats(array)
    if array.shape[2] > spec.channels:
        array = (array @ _GRAY)[:, :, None]
    channels = [Image.fromarray(each.astype(np.float32)) for each in np.moveaxis(array, 2, 0)]
    image = np.stack([np.asarray(_transformed(each, config, spec)) for each in channels], axis=2)
    if image.shape[2] < spec.channels:
        image = np.repeat(image, spec.channels, axis=2)
    return image.clip(-1, 1) if top is None else np.rint(image).clip(0, top).astype(given.dtype)


def to_pixels(image: Image.Image, config: ImageDatasetConfig, spec: ImageSpec | None = None) -> npt.NDArray[np.uint8]:
    """Turn an image upright, convert, crop and resize it.

    In this order: EXIF orientation; conversion to gray or RGB; `value_range`, by default the whole range of 16-bit
    grays; transparent parts over `background` (unless `channels` is 2 or 4); `resize_first`; `crop`; resize to
    `image_size`. Offsets and sizes are rounded as in torchvision's `Resize` and `CenterCrop`, so `resize_first=64,
    crop=64` gives their exact pixels.

    Args:
        image: of any mode; only its first frame is used; it may be marked by `mark_decoded_smaller`.
        config: the dataset's options.
        spec: shape of the result; default: that of the dataset's samples.

    Returns:
        (height, width, channels), 0 to 255.

    Raises:
        TooSmallError: the image is smaller than the crop.
        ValueError: its mode has no defined range, it is too long a strip for `resize_first`, or cannot have so many
            channels.
        OSError: the image's data is damaged.
    """
    spec = spec or ImageSpec(config.channels, *sides(config.image_size))
    scale, size = image.info.get(_REDUCED, (1, image.size))
    if spec.channels not in _MODES:
        raise ValueError(f"is a PIL image, which has 1 to 4 channels, and dataset.channels is {spec.channels}")
    image = _convert(upright(image), _MODES[spec.channels], config)
    if image.width != math.ceil(size[0] / scale):
        size = size[::-1]  # turned by its EXIF orientation
    pixels = np.asarray(_transformed(image, config, spec, size, scale), dtype=np.uint8)
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


def eight_bit_image(given: object, config: ImageDatasetConfig, channels: int) -> Image.Image:
    """Turn what a dataset gives for an image into an upright picture of 8 bits at its own size.

    Colors, transparency, 16 bits and `value_range` are converted as for what is stored.

    Args:
        given: a PIL image, or an array (H, W) or (H, W, C) of uint8, uint16 or floats in [−1, 1].
        config: the dataset's options.
        channels: 1 for a gray picture, 3 for RGB.

    Raises:
        ContractError: it is nothing that a dataset may give, or of another number of channels.
        ValueError: its values lie outside the range that they must lie in.
        OSError: the image's data is damaged.
    """
    if isinstance(given, Image.Image):
        return _convert(upright(given), _MODES[channels], config)
    check_array(given, config, ImageSpec(channels, *sides(config.image_size)))
    assert isinstance(given, np.ndarray), "checked"
    array = in_range(given, _range(config))
    top = _TOPS.get(array.dtype.name)
    if top is None:
        _check_floats(array)
    levels = np.rint((array / top if top else (array + 1) / 2) * 255).astype(np.uint8)
    return flattened(Image.fromarray(levels[:, :, 0] if levels.shape[2:] == (1,) else levels), _MODES[channels], config)


def _check_floats(array: Array) -> None:
    """Raise ValueError unless all lie in [−1, 1]."""
    low, high = array.min(), array.max()
    if not (low >= -1 and high <= 1):
        raise ValueError(
            f"is an array of floats from {low:g} to {high:g}, which must lie in [−1, 1]"
            + (_SET_RANGE if np.isfinite([low, high]).all() else "")
        )


def _transformed(
    image: Image.Image, config: ImageDatasetConfig, spec: ImageSpec, size: tuple[int, int] | None = None, scale: int = 1
) -> Image.Image:
    """Crop and resize an image that is `scale` times smaller than its full `size`, by default at full size."""
    size = size or image.size
    resampling = Image.Resampling[config.resize.upper()]
    box = (0, 0, *size)
    if config.resize_first is not None:
        shorter = min(size)
        size = (
            max(1, int(config.resize_first * size[0] / shorter)),
            max(1, int(config.resize_first * size[1] / shorter)),
        )
        if size[0] * size[1] > max(_MOST_PIXELS, config.max_pixels or 0):
            raise ValueError(f"{box[2]}×{box[3]} pixels are too long a strip for resize_first")
        image, scale, box = _resize(image, size, resampling, box, scale), 1, (0, 0, *size)
    if config.crop != "none":
        box = _center_box(size, _crop_size(size, config, (spec.width, spec.height)), config)
    return _resize(image, (spec.width, spec.height), resampling, box, scale)


def discarded(size: tuple[int, int], config: ImageDatasetConfig) -> float:
    """Return the share of the pixels of an image of this size that the largest crop leaves out."""
    if config.crop != "largest":
        return 0.0
    height, width = sides(config.image_size)
    cropped = _crop_size(size, config, (width, height))
    return 1 - cropped[0] * cropped[1] / (size[0] * size[1])


def enlargement(size: tuple[int, int], config: ImageDatasetConfig) -> float:
    """Return the factor by which the transforms enlarge an image of this size; below 1 where they shrink it."""
    before = 1.0 if config.resize_first is None else config.resize_first / min(size)
    resized = before * size[0], before * size[1]
    height, width = sides(config.image_size)
    cropped = resized if config.crop == "none" else _crop_size(resized, config, (width, height))
    return max(before * width / cropped[0], before * height / cropped[1])


def _crop_size(size: tuple[float, float], config: ImageDatasetConfig, target: tuple[int, int]) -> tuple[float, float]:
    """Return the width and height of the crop from an image of this size."""
    if isinstance(config.crop, str):  # the largest that has the target's shape
        if size[0] * target[1] <= size[1] * target[0]:
            return size[0], size[0] * target[1] / target[0]
        return size[1] * target[0] / target[1], size[1]
    height, width = sides(config.crop)
    return width, height


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Return the width and height that an image has once it is turned by its EXIF orientation."""
    return image.size[::-1] if orientation(image) in _QUARTER_TURNS else image.size


def upright(image: Image.Image) -> Image.Image:
    """Return an image turned by its EXIF orientation, and the image itself where that is none or damaged."""
    image.load()
    try:
        return image if orientation(image) == 1 else ImageOps.exif_transpose(image)  # which would copy it
    except Exception:  # as in `orientation`
        return image


def orientation(image: Image.Image) -> int:
    """Return the EXIF orientation of an image, 1 to 8; 1 where it has none or a damaged one."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # a camera's broken EXIF block must not cost a good picture, and PIL raises many types here
        return 1


def _convert(image: Image.Image, mode: str, config: ImageDatasetConfig) -> Image.Image:
    value_range = _range(config)
    if _is_deep(image):
        gray, opaque = _to_eight_bits(image, value_range), _opaque(image)
        if opaque is not None:
            gray.putalpha(Image.fromarray(opaque.astype(np.uint8) * 255))
        return flattened(gray, mode, config)
    if value_range is not None:
        image = _with_alpha(image, mode) if image.has_transparency_data else flattened(image, mode, config)
        levels = np.rint((in_range(np.arange(256), value_range) + 1) * 127.5).astype(int).tolist()
        colors = len(image.mode.removesuffix("A"))
        image = image.point(levels * colors + list(range(256)) * (len(image.mode) - colors))
    return flattened(image, mode, config)


def _with_alpha(image: Image.Image, mode: str) -> Image.Image:
    """Return an image of 8 bits in gray or RGB, as a mode is, with alpha."""
    return image.convert("RGBA") if mode.startswith("RGB") else image.convert("RGBA").convert("LA")


def flattened(image: Image.Image, mode: str, config: ImageDatasetConfig) -> Image.Image:
    """Return an image of 8 bits in a mode, with `background` behind transparent parts where the mode has no alpha."""
    if not mode.endswith("A") and image.has_transparency_data:
        image = image.convert("RGBA")
        behind = Image.new("RGBA", image.size, ImageColor.getrgb(config.background))
        image = Image.alpha_composite(behind, image)
    if image.mode == "LAB":  # which PIL converts to RGB alone
        image = image.convert("RGB")
    return image if image.mode == mode else image.convert(mode)


def _is_deep(image: Image.Image) -> bool:
    return image.mode == "F" or image.mode.startswith("I")


def _opaque(image: Image.Image) -> npt.NDArray[np.bool_] | None:
    """Return which pixels (H, W) of a deep image are not of its transparent gray, of which PIL itself takes no note."""
    gray = image.info.get("transparency")
    return np.asarray(image) != gray if isinstance(gray, int) else None


def _to_eight_bits(image: Image.Image, value_range: tuple[float, float] | None) -> Image.Image:
    """Scale 16-bit grays, floats between 0 and 1, or the values of a range, to 8 bits; PIL itself clips them at 255."""
    values = np.asarray(image).astype(np.float64)
    top = 1.0 if image.mode == "F" else 65535.0
    low, high = value_range or (0.0, top)
    if not np.isfinite(values).all() or (value_range is None and not (values.min() >= 0 and values.max() <= top)):
        raise ValueError(
            f"its gray values (PIL mode {image.mode}) run from {values.min():g} to {values.max():g}; "
            f"those that can be read lie between {low:g} and {high:g}"
            + (_SET_RANGE if np.isfinite(values).all() else ", and are finite")
        )
    return Image.fromarray(np.rint((values.clip(low, high) - low) * (255.0 / (high - low))).astype(np.uint8))


def _to_sixteen_bits(image: Image.Image, config: ImageDatasetConfig, spec: ImageSpec) -> Array:
    """Return an array (H, W) or (H, W, C) of 16 bits, to which 8 bits and floats between 0 and 1 are spread.

    With `value_range` the values are those of the file, and its alpha is spread over the range.
    """
    mode, deep, value_range = _MODES[spec.channels], _is_deep(image), _range(config)
    low, high = value_range or (0, _TOPS["uint16"])
    keeps_alpha = mode.endswith("A")
    alpha: Array | None = _opaque(image) if deep else None
    if deep:
        pixels = np.asarray(image)[:, :, None]
        if keeps_alpha:
            alpha = np.ones(pixels.shape[:2]) if alpha is None else alpha
            pixels = np.repeat(pixels, spec.channels - 1, axis=2)
    elif keeps_alpha or (value_range is not None and image.has_transparency_data):
        pixels = np.asarray(_with_alpha(image, mode))
        alpha, pixels = pixels[:, :, -1] / 255, pixels[:, :, :-1]
    else:
        pixels = np.asarray(flattened(image, mode, config))
    if alpha is not None and not keeps_alpha:
        color = np.array(ImageColor.getrgb(config.background)[:3]) / 255
        behind = low + (color if spec.channels == 3 else color @ _GRAY) * (high - low)
        seen = pixels if value_range is None else pixels.clip(low, high)
        pixels, alpha = np.where(alpha[:, :, None], behind + alpha[:, :, None] * (seen - behind), behind), None
    if value_range is not None:
        return pixels if alpha is None else np.dstack([pixels, low + alpha * (high - low)])
    top, scale = {"u1": (255, 257), "f4": (1, 65535)}.get(pixels.dtype.str[1:], (65535, 1))
    if not np.isfinite(pixels).all():
        raise ValueError("holds values that are not finite")
    if not (pixels.min() >= 0 and pixels.max() <= top):
        raise ValueError(f"its values run from {pixels.min():g} to {pixels.max():g}, beyond {top}{_SET_RANGE}")
    pixels = pixels * float(scale)
    return np.rint(pixels if alpha is None else np.dstack([pixels, alpha * 65535])).astype(np.uint16)


def _center_box(size: tuple[int, int], crop: tuple[float, float], config: ImageDatasetConfig) -> _Box:
    width, height = round(crop[0]), round(crop[1])
    if width > size[0] or height > size[1]:
        when = "" if config.resize_first is None else f" after resize_first = {config.resize_first}"
        wanted = f"{width}" if width == height else f"{width}×{height}"
        raise TooSmallError(f"{size[0]}×{size[1]} pixels{when} is smaller than the crop of {wanted}")
    left, top = round((size[0] - width) / 2), round((size[1] - height) / 2)
    return left, top, left + width, top + height


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
