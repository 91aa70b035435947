"""JPEGs by way of simplejpeg: the same pixels as PIL's, and PIL wherever it has more to say."""

from __future__ import annotations

import io
import random
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from ganzoo.components.options import ImageDatasetConfig
from ganzoo.data import image_files as turbo
from ganzoo.data.image_files import decode_image, decode_with_simplejpeg
from ganzoo.data.transforms import to_pixels


def photo(width: int, height: int, mode: str = "RGB") -> Image.Image:
    rng = np.random.default_rng(width * height)
    coarse = Image.fromarray(rng.integers(0, 256, (7, 9, 3), dtype=np.uint8)).resize((width, height))
    grain = rng.normal(0, 5, (height, width, 3))
    return Image.fromarray((np.asarray(coarse) + grain).clip(0, 255).astype(np.uint8)).convert(mode)


def jpeg(image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", **options)
    return file.getvalue()


def by_pil(data: bytes, config: ImageDatasetConfig, monkeypatch: pytest.MonkeyPatch) -> npt.NDArray[np.uint8]:
    with monkeypatch.context() as without:
        without.setattr(turbo, "simplejpeg", None)
        return to_pixels(decode_image(data, config), config)


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize(("size", "image_size"), [((178, 218), 64), ((177, 219), 32), ((400, 301), 24), ((65, 33), 16)])
@pytest.mark.parametrize("fast_decode", [False, True])
def test_pixels_are_those_of_pil(size, image_size, subsampling, progressive, mode, fast_decode, monkeypatch):
    config = ImageDatasetConfig(image_size=image_size, fast_decode=fast_decode)
    data = jpeg(photo(*size, mode), subsampling=subsampling, progressive=progressive, quality=85)
    decoded = decode_with_simplejpeg(data, config)
    assert decoded is not None
    assert (decoded.format, decoded.mode) == ("JPEG", mode)
    assert np.array_equal(to_pixels(decoded, config), by_pil(data, config, monkeypatch))


def with_orientation() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return jpeg(photo(40, 30), exif=exif)


def of_another_format() -> bytes:
    file = io.BytesIO()
    photo(40, 30).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    "data",
    [with_orientation(), of_another_format(), jpeg(photo(40, 30, "CMYK")), jpeg(photo(40, 30))[:-200], b"\xff\xd8\xff"],
    ids=["turned by EXIF", "PNG", "CMYK", "cut off", "nothing but its start"],
)
def test_the_rest_is_left_to_pil(data: bytes):
    assert decode_with_simplejpeg(data) is None


def test_an_image_of_a_size_that_pil_warns_of_is_left_to_pil(monkeypatch: pytest.MonkeyPatch):
    data = jpeg(photo(40, 30))
    assert decode_with_simplejpeg(data) is not None
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1199)
    assert decode_with_simplejpeg(data) is None


def outcome(data: bytes) -> tuple[Any, ...]:
    try:
        image = decode_image(data)
    except Exception as error:
        return type(error), str(error)[:20]
    return image.format, image.mode, image.size, image.tobytes()


def test_damaged_data_fares_as_with_pil(monkeypatch: pytest.MonkeyPatch):
    rng = random.Random(0)
    whole = [jpeg(photo(97, 60), quality=85), jpeg(photo(48, 50, "L"), progressive=True)]
    good = 0
    for _ in range(300):
        data = bytearray(rng.choice(whole))
        for _ in range(rng.randint(1, 3)):
            data[rng.randrange(rng.choice([len(data), 600]))] = rng.randrange(256)
        ours = outcome(bytes(data))
        with monkeypatch.context() as without:
            without.setattr(turbo, "simplejpeg", None)
            assert outcome(bytes(data)) == ours
        good += len(ours) == 4
    assert 30 < good < 270
