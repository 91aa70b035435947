"""Images of every mode and size become the pixels that torchvision's transforms would give."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from torchvision import transforms

from ganzoo.components.options import ImageDatasetConfig
from ganzoo.data.image_files import decode_image
from ganzoo.data.transforms import eight_bit_image, enlargement, to_pixels, to_stored


def config(**options) -> ImageDatasetConfig:
    return ImageDatasetConfig(**{"image_size": 8, **options})


def face(width: int = 178, height: int = 218) -> Image.Image:
    """A smooth picture with an edge or two, as large as CelebA's."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [127 + 90 * np.sin(x / 23 + phase) * np.cos(y / 31 + phase) for phase in (0, 1, 2)]
    return Image.fromarray(np.rint(np.stack(waves, axis=-1)).astype(np.uint8))


def noise(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def flat(mode: str, color, size=(8, 8)) -> Image.Image:
    return Image.new(mode, size, color)


def torchvision_pixels(image: Image.Image, size: int) -> np.ndarray:
    return np.asarray(transforms.Compose([transforms.Resize(size), transforms.CenterCrop(size)])(image))


def test_celeba_default_is_the_usual_resize_and_center_crop():
    ours = to_pixels(face(), config(image_size=64, crop=178))
    theirs = torchvision_pixels(face(), 64)
    assert ours.shape == (64, 64, 3)
    assert ours.dtype == np.uint8
    assert np.abs(ours.astype(int) - theirs.astype(int)).max() <= 2


@pytest.mark.parametrize("size", [(178, 218), (218, 178), (101, 77), (64, 64), (300, 65)])
def test_resize_first_then_crop_gives_torchvisions_very_pixels(size):
    image = noise(*size)
    ours = to_pixels(image, config(image_size=64, resize_first=64, crop=64))
    assert np.array_equal(ours, torchvision_pixels(image, 64))


def test_a_crop_of_the_final_size_is_not_resized_again():
    image = noise(178, 218)
    ours = to_pixels(image, config(image_size=64, resize_first=128, crop=64))
    theirs = transforms.CenterCrop(64)(transforms.Resize(128)(image))
    assert np.array_equal(ours, np.asarray(theirs))


def test_an_image_of_the_final_size_keeps_its_pixels():
    image = noise(32, 32)
    assert np.array_equal(to_pixels(image, config(image_size=32)), np.asarray(image))


def test_square_takes_the_middle_and_none_takes_all():
    image = Image.new("RGB", (30, 10), "red")
    image.paste((0, 0, 255), (10, 0, 20, 10))
    middle = to_pixels(image, config(crop="largest"))
    assert np.array_equal(middle, np.asarray(flat("RGB", (0, 0, 255))))
    whole = to_pixels(image, config(crop="none"))
    assert whole[0, 0].tolist() == [255, 0, 0]
    assert whole.shape == (8, 8, 3)


@pytest.mark.parametrize(
    ("size", "options", "factor"),
    [
        ((178, 218), {"image_size": 64, "crop": 178}, 64 / 178),
        ((218, 178), {"image_size": 64}, 64 / 178),
        ((16, 32), {"image_size": 64}, 4),
        ((16, 32), {"image_size": 64, "crop": "none"}, 4),
        ((16, 32), {"image_size": 8, "resize_first": 32, "crop": 16}, 1),
        ((128, 128), {"image_size": 64, "resize_first": 64, "crop": 32}, 1),
        ((1, 9), {"image_size": 8}, 8),
    ],
)
def test_how_much_an_image_is_enlarged(size, options, factor):
    assert enlargement(size, config(**options)) == pytest.approx(factor)


def test_a_strip_is_not_made_longer_than_memory():
    strip = flat("1", 0, (60_000, 1))
    assert to_pixels(strip, config()).shape == (8, 8, 3)
    with pytest.raises(ValueError, match="60000×1 pixels are too long a strip for resize_first"):
        to_pixels(strip, config(resize_first=64))


def test_an_image_smaller_than_the_crop_says_so():
    with pytest.raises(ValueError, match=r"20×40 pixels is smaller than the crop of 30"):
        to_pixels(flat("RGB", 0, (20, 40)), config(crop=30))
    with pytest.raises(ValueError, match="after resize_first = 16"):
        to_pixels(flat("RGB", 0, (20, 40)), config(crop=30, resize_first=16))


@pytest.mark.parametrize(
    ("mode", "color", "expected"),
    [
        ("L", 77, (77, 77, 77)),
        ("1", 1, (255, 255, 255)),
        ("P", 0, (0, 0, 0)),
        ("CMYK", (0, 255, 255, 0), (255, 0, 0)),
        ("LA", (10, 0), (255, 255, 255)),
        ("LA", (10, 255), (10, 10, 10)),
        ("RGBA", (200, 0, 0, 0), (255, 255, 255)),
        ("RGBA", (200, 0, 0, 255), (200, 0, 0)),
        ("RGBA", (0, 0, 0, 51), (204, 204, 204)),
        ("I;16", 65535, (255, 255, 255)),
        ("I;16", 257 * 100, (100, 100, 100)),
        ("I", 257 * 100, (100, 100, 100)),
        ("F", 0.2, (51, 51, 51)),
    ],
)
def test_modes_to_rgb(mode, color, expected):
    pixels = to_pixels(flat(mode, color), config())
    assert np.abs(pixels.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("value_range", [None, [0, 255]])
@pytest.mark.parametrize("depth", [8, 16])
def test_lab_images(channels, value_range, depth):
    options = config(channels=channels, value_range=value_range, depth=depth)
    lab = flat("LAB", (128, 128, 128))
    stored, same = (to_stored(each, options, options.sample_spec()) for each in (lab, lab.convert("RGB")))
    np.testing.assert_array_equal(stored, same)


def test_gray_has_one_channel():
    pixels = to_pixels(flat("RGB", (0, 255, 0)), config(channels=1))
    assert pixels.shape == (8, 8, 1)
    assert (pixels == 150).all()
    assert (to_pixels(flat("L", 9), config(channels=1)) == 9).all()


def test_transparency_of_palettes_and_of_single_colors_shows_white():
    palette = flat("P", 1)
    palette.putpalette([0, 0, 0, 255, 0, 0])
    for image in (palette, flat("RGB", (9, 9, 9)), flat("L", 9)):
        file = io.BytesIO()
        image.save(file, "PNG", transparency={"P": 1, "RGB": (9, 9, 9), "L": 9}[image.mode])
        assert (to_pixels(Image.open(file), config()) == 255).all(), image.mode


def test_gray_values_outside_the_known_ranges_are_refused():
    with pytest.raises(ValueError, match="between 0 and 65535"):
        to_pixels(flat("I", 70_000), config())
    with pytest.raises(ValueError, match="between 0 and 1"):
        to_pixels(flat("F", 3.5), config())
    with pytest.raises(ValueError, match="between 0 and 1"):
        to_pixels(flat("F", float("nan")), config())


def test_photos_are_turned_upright():
    image = Image.new("RGB", (16, 8), "black")
    image.paste((255, 255, 255), (0, 0, 8, 8))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: turn by 90° clockwise
    file = io.BytesIO()
    image.save(file, "PNG", exif=exif)
    pixels = to_pixels(Image.open(file), config(crop="none"))
    assert pixels[0].mean() > 250
    assert pixels[-1].mean() < 5


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_a_broken_exif_block_costs_nothing():
    file = io.BytesIO()
    flat("RGB", (40, 50, 60)).save(file, "PNG", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff broken")
    assert to_pixels(Image.open(file), config())[0, 0].tolist() == [40, 50, 60]


def test_the_first_frame_of_an_animation():
    file = io.BytesIO()
    frames = [flat("RGB", color) for color in ((255, 0, 0), (0, 255, 0))]
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    assert to_pixels(Image.open(file), config())[0, 0].tolist() == [255, 0, 0]


def test_a_truncated_file_raises():
    file = io.BytesIO()
    noise(64, 64).save(file, "PNG")
    with pytest.raises(OSError, match="truncated"):
        to_pixels(Image.open(io.BytesIO(file.getvalue()[:2000])), config())


def jpeg(image: Image.Image, quality: int = 90) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


def detailed(width: int, height: int) -> Image.Image:
    """Waves, grain, and edges all over, so many whatever its size: what a photograph has, and more of it."""
    picture = np.asarray(face(width, height)).astype(float)
    y, x = np.mgrid[0:height, 0:width]
    picture += 40 * ((x * 20 // width + y * 15 // height) % 2)[..., None] + np.random.default_rng(1).normal(
        0, 6, picture.shape
    )
    return Image.fromarray(picture.clip(0, 255).astype(np.uint8))


def decoded(data: bytes, **options) -> np.ndarray:
    chosen = config(**options)
    return to_pixels(decode_image(data, chosen), chosen).astype(int)


@pytest.mark.parametrize(
    ("size", "options", "reduced"),
    [
        ((178, 218), {"image_size": 64, "crop": 178}, 2),
        ((178, 218), {"image_size": 64}, 2),
        ((179, 219), {"image_size": 64, "crop": 178}, 2),
        ((178, 218), {"image_size": 64, "crop": 108}, 1),
        ((512, 512), {"image_size": 64}, 4),
        ((1024, 700), {"image_size": 64}, 8),
        ((1024, 700), {"image_size": 64, "crop": "none"}, 8),
        ((700, 1024), {"image_size": 64, "resize_first": 96, "crop": 64}, 4),
        ((178, 218), {"image_size": 64, "crop": 64}, 1),
        ((64, 64), {"image_size": 64}, 1),
        ((512, 512), {"image_size": 32, "channels": 1}, 8),
    ],
)
def test_fast_decoding_stays_close_to_the_whole(size, options, reduced):
    data = jpeg(detailed(*size))
    assert decode_image(data, config(fast_decode=True, **options)).width == -(-size[0] // reduced)
    whole, fast = decoded(data, **options), decoded(data, fast_decode=True, **options)
    assert fast.shape == whole.shape
    difference = np.abs(fast - whole)
    if reduced == 1:
        assert difference.max() == 0
    else:
        assert difference.mean() <= 1.5
        assert np.percentile(difference, 99) <= 8


def test_fast_decoding_is_off_by_default_and_leaves_other_formats_alone():
    data = jpeg(detailed(512, 512))
    assert decode_image(data, config()).size == (512, 512)
    png = io.BytesIO()
    noise(512, 512).save(png, "PNG")
    assert decode_image(png.getvalue(), config(fast_decode=True)).size == (512, 512)


@pytest.mark.parametrize("size", [(400, 600), (639, 425), (636, 428)])
@pytest.mark.parametrize("orientation", range(2, 9))
def test_fast_decoding_turns_images_upright_all_the_same(size, orientation):
    """Also where the last block of a smaller JPEG reaches beyond the image, and comes first once it is turned."""
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = orientation
    detailed(*size).save(file, "JPEG", quality=95, exif=exif)
    options = {"image_size": 32, "crop": 380}
    difference = np.abs(decoded(file.getvalue(), fast_decode=True, **options) - decoded(file.getvalue(), **options))
    assert difference.mean() <= 1.5


def test_fast_decoding_goes_by_the_upright_size():
    """500×1000 upright, of which 500×250 become 128×64: a factor of 3.9, so half the size and no less."""
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    detailed(1000, 500).save(file, "JPEG", quality=95, exif=exif)
    chosen = config(image_size=(64, 128), fast_decode=True)
    assert decode_image(file.getvalue(), chosen).size == (500, 250)
    assert decode_image(file.getvalue(), config(image_size=(128, 64), fast_decode=True)).size == (250, 125)


def test_pictures_of_eight_bits_are_upright_and_converted():
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    flat("RGB", (10, 20, 30), (40, 20)).save(file, "PNG", exif=exif)
    turned = eight_bit_image(decode_image(file.getvalue()), config(), 3)
    assert (turned.size, turned.mode, turned.getpixel((5, 30))) == ((20, 40), "RGB", (10, 20, 30))
    gray = eight_bit_image(np.full((4, 6), 65535, np.uint16), config(channels=1), 1)
    assert (gray.size, gray.mode, gray.getpixel((0, 0))) == ((6, 4), "L", 255)
    floats = np.full((4, 6, 3), -1.0, np.float32)
    assert eight_bit_image(floats, config(), 1).getpixel((0, 0)) == 0
    with pytest.raises(ValueError, match="must lie in"):
        eight_bit_image(floats * 3, config(), 3)


def test_the_image_of_a_source_is_not_changed():
    image = noise(8, 8)
    before = image.tobytes()
    pixels = to_pixels(image, config())
    pixels.copy()[:] = 0
    assert image.tobytes() == before
