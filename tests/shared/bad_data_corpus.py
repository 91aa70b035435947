"""Folders as they come from the world, each with what should become of every file in it."""

from __future__ import annotations

import io
import os
import struct
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, features

Corners = tuple[tuple[int, int, int], ...]
"""Colors of a picture's corners: top left, top right, bottom left, bottom right."""

RED, GREEN, BLUE, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)
COLORS: Corners = (RED, GREEN, BLUE, WHITE)
GRAYS: Corners = ((0, 0, 0), (85, 85, 85), (170, 170, 170), (255, 255, 255))

# EXIF 2.32, 4.6.4 A: where the 0th row and the 0th column of the stored image are to be seen.
ORIENTATIONS = {
    1: ("top", "left"),
    2: ("top", "right"),
    3: ("bottom", "right"),
    4: ("bottom", "left"),
    5: ("left", "top"),
    6: ("right", "top"),
    7: ("right", "bottom"),
    8: ("left", "bottom"),
}


@dataclass(frozen=True)
class Case:
    """A folder.

    Attributes:
        name: what it is an example of.
        make: writes the files into a folder.
        taken: corners of each image that is taken, by its path in the folder.
        refused: part of the reason for each image that is not.
        tolerance: by how much each color may be off, for formats with losses.
        options: of the dataset.
    """

    name: str
    make: Callable[[Path], object]
    taken: dict[str, Corners] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    tolerance: int = 0
    options: dict[str, object] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name


def quadrants(mode: str = "RGB", size: tuple[int, int] = (16, 16)) -> Image.Image:
    """Four colors, or four grays."""
    palette = GRAYS if mode == "L" else COLORS
    image = Image.new("RGB", size)
    half = (size[0] // 2, size[1] // 2)
    for index, color in enumerate(palette):
        left, top = half[0] * (index % 2), half[1] * (index // 2)
        image.paste(color, (left, top, left + half[0], top + half[1]))
    return image if mode == "RGB" else image.convert(mode)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def noise(side: int = 64, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8))


PNG = encoded(quadrants())
JPEG = encoded(quadrants(), "JPEG", quality=95, subsampling=0)


def one(name: str, file: str, data: bytes, corners: Corners | None, tolerance: int = 0, **options: object) -> Case:
    """A folder with one image that is taken, or with one file that is left alone."""
    taken = {} if corners is None else {file: corners}
    return Case(name, lambda root: write(root / file, data), taken, tolerance=tolerance, options=options)


def bad(name: str, file: str, data: bytes, reason: str, **options: object) -> Case:
    """A folder with one image that is refused."""
    return Case(name, lambda root: write(root / file, data), refused={file: reason}, options=options)


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def png_chunks(header: bytes, pixels: bytes, *extra: tuple[bytes, bytes]) -> bytes:
    """A PNG from the data of its header and its filtered rows."""
    chunks = [(b"IHDR", header), *extra, (b"IDAT", zlib.compress(pixels)), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def interlaced_png() -> bytes:
    """Adam7, which PIL reads but does not write."""
    pixels = np.asarray(quadrants())
    rows = b""
    for top, left, down, right in (
        (0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1),
    ):  # fmt: skip
        for row in pixels[top::down, left::right]:
            rows += b"\0" + row.tobytes()
    return png_chunks(struct.pack(">IIBBBBB", 16, 16, 8, 2, 0, 0, 1), rows)


def deep_png() -> bytes:
    """16 bits for each of red, green and blue; the low bytes are not those of the high ones."""
    pixels = (np.asarray(quadrants()).astype(np.uint16) * 256 + 77).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    return png_chunks(struct.pack(">IIBBBBB", 16, 16, 16, 2, 0, 0, 0), rows)


def deep_grays() -> Image.Image:
    return Image.fromarray(np.asarray(quadrants("L")).astype(np.uint16) * 257)


def arithmetic_jpeg() -> bytes:
    """A flat gray, arithmetically coded: the markers of a baseline file, and a code of zeros."""
    base = encoded(Image.new("L", (8, 8), 128), "JPEG")
    file, at = b"\xff\xd8", 2
    while True:
        marker, length = struct.unpack_from(">xBH", base, at)
        if marker != 0xC4:  # it has no Huffman tables
            file += (
                struct.pack(">BBH", 0xFF, 0xC9 if marker == 0xC0 else marker, length) + base[at + 4 : at + 2 + length]
            )
        if marker == 0xDA:
            return file + b"\0\0\xff\xd9"
        at += 2 + length


def rotated(orientation: int) -> tuple[bytes, Corners]:
    """A file with that orientation, and its corners as they are to be seen."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = {(row, column): COLORS[2 * row + column] for row in (0, 1) for column in (0, 1)}
    row_at, column_at = ORIENTATIONS[orientation]
    seen = []
    for vertical in ("top", "bottom"):
        for horizontal in ("left", "right"):
            here = (vertical, horizontal)
            seen.append(stored[0 if row_at in here else 1, 0 if column_at in here else 1])
    return encoded(quadrants(), "JPEG", quality=95, subsampling=0, exif=exif), tuple(seen)


def with_palette(kind: str, transparent: bool = False, **options: object) -> bytes:
    image = quadrants().quantize(4)
    if transparent:
        options["transparency"] = image.getpixel((0, 0))
    return encoded(image, kind, **options)


def one_bit() -> Image.Image:
    return quadrants("L").point(lambda gray: 255 * (gray > 100), "1")


def transparent(mode: str) -> bytes:
    """Quadrants of which the first is transparent, so white is seen there."""
    image = quadrants().convert("RGBA" if mode == "RGBA" else "LA")
    alpha = Image.new("L", (16, 16), 255)
    alpha.paste(0, (0, 0, 8, 8))
    image.putalpha(alpha)
    return encoded(image)


def animated(kind: str) -> bytes:
    frames = [quadrants(), Image.new("RGB", (16, 16), BLACK)]
    options = {"lossless": True} if kind == "WEBP" else {}
    return encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=100, **options)


def links(root: Path) -> None:
    write(root / "real" / "a.png", PNG)
    (root / "b.png").symlink_to(root / "real" / "a.png")
    (root / "again").symlink_to(root / "real", target_is_directory=True)


def circles(root: Path) -> None:
    write(root / "real" / "a.png", PNG)
    (root / "real" / "up").symlink_to(root, target_is_directory=True)
    (root / "itself.png").symlink_to(root / "itself.png")
    (root / "one").symlink_to(root / "other")
    (root / "other").symlink_to(root / "one")


def pipes(root: Path) -> None:
    os.mkfifo(root / "pipe.png")
    (root / "device.png").symlink_to("/dev/zero")


def junk(root: Path) -> None:
    write(root / "a.png", PNG)
    for name in ("Thumbs.db", ".DS_Store", "desktop.ini", "._a.png", ".hidden.jpg", "__MACOSX/._a.png", "@eaDir/a.png"):
        write(root / name, b"junk")


def deep(root: Path) -> None:
    folder = root.joinpath(*["d"] * 60)
    write(folder / "a.png", PNG)
    (root / "empty" / "also empty").mkdir(parents=True)
    (root / "looks like.png").mkdir()
    write(root / "looks like.png" / "b.png", PNG)


def named(root: Path, names: tuple[str, ...]) -> None:
    for name in names:
        write(root / name, PNG)


NAMES = (
    "日本語.png",
    "ñandú 😀.png",
    "with space.png",
    "two\nlines.png",
    "-rf.png",
    "'quotes\".png",
    "$HOME.png",
    "%s%n.png",
    "a" * 240 + ".png",
    "two.dots.png",
    "UPPER.PNG",
    "e\u0301.png",
    "\x1b[31mred.png",
)
FLAT = encoded(Image.new("RGB", (24, 24), (10, 20, 30)))

CASES = [
    # What is read
    one("PNG", "a.png", PNG, COLORS),
    one("interlaced PNG", "a.png", interlaced_png(), COLORS),
    one("PNG of 16-bit grays", "a.png", encoded(deep_grays()), GRAYS),
    one("PNG of 16-bit colors", "a.png", deep_png(), COLORS),
    one("PNG with a palette", "a.png", with_palette("PNG"), COLORS),
    one("PNG with a palette of 4 bits", "a.png", with_palette("PNG", bits=4), COLORS),
    one("PNG with a palette and transparency", "a.png", with_palette("PNG", True), (WHITE, GREEN, BLUE, WHITE)),
    one("PNG with alpha", "a.png", transparent("RGBA"), (WHITE, GREEN, BLUE, WHITE)),
    one("PNG of grays with alpha", "a.png", transparent("LA"), (WHITE, (150,) * 3, (29,) * 3, WHITE)),
    one("PNG of one bit", "a.png", encoded(one_bit()), (BLACK, BLACK, WHITE, WHITE)),
    one("PNG with a color profile", "a.png", encoded(quadrants(), icc_profile=b"\0" * 200), COLORS),
    one(
        "PNG with gamma",
        "a.png",
        png_chunks(
            PNG[16:29],
            b"".join(b"\0" + r.tobytes() for r in np.asarray(quadrants())),
            (b"gAMA", struct.pack(">I", 100)),
        ),
        COLORS,
    ),
    one("animated PNG", "a.png", animated("PNG"), COLORS),
    one("animated GIF", "a.gif", animated("GIF"), COLORS),
    one("animated WebP", "a.webp", animated("WEBP"), COLORS),
    one("GIF with transparency", "a.gif", with_palette("GIF", True), (WHITE, GREEN, BLUE, WHITE)),
    one("JPEG", "a.jpg", JPEG, COLORS, 2),
    one(
        "progressive JPEG",
        "a.jpg",
        encoded(quadrants(), "JPEG", progressive=True, quality=95, subsampling=0),
        COLORS,
        2,
    ),
    one("arithmetic JPEG", "a.jpg", arithmetic_jpeg(), ((128,) * 3,) * 4, 1),
    one("gray JPEG", "a.jpg", encoded(quadrants("L"), "JPEG", quality=95), GRAYS, 2),
    one("CMYK JPEG", "a.jpg", encoded(quadrants("CMYK"), "JPEG", quality=95, subsampling=0), COLORS, 3),
    one("JPEG with bytes after its end", "a.jpg", JPEG + b"\0garbage" * 200, COLORS, 2),
    one(
        "JPEG with a thumbnail that is broken",
        "a.jpg",
        encoded(quadrants(), "JPEG", quality=95, subsampling=0, exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff broken"),
        COLORS,
        2,
    ),
    one(
        "JPEG of two pictures (MPO)",
        "a.jpg",
        encoded(
            quadrants(), "MPO", save_all=True, quality=95, subsampling=0, append_images=[Image.new("RGB", (16, 16))]
        ),
        COLORS,
        2,
    ),
    *(one(f"EXIF orientation {o}", "a.jpg", rotated(o)[0], rotated(o)[1], 2) for o in ORIENTATIONS),
    one("BMP", "a.bmp", encoded(quadrants(), "BMP"), COLORS),
    one("BMP of one bit", "a.bmp", encoded(Image.new("1", (16, 16), 1), "BMP"), (WHITE,) * 4),
    one("WebP without losses", "a.webp", encoded(quadrants(), "WEBP", lossless=True), COLORS),
    one("TIFF", "a.tif", encoded(quadrants(), "TIFF"), COLORS),
    one("TIFF, compressed", "a.tiff", encoded(quadrants(), "TIFF", compression="tiff_lzw"), COLORS),
    one("TIFF of two pages", "a.tif", encoded(quadrants(), "TIFF", save_all=True, append_images=[noise(16)]), COLORS),
    one("TIFF of 16 bits", "a.tif", encoded(deep_grays(), "TIFF"), GRAYS),
    one("TIFF of CMYK", "a.tif", encoded(quadrants("CMYK"), "TIFF"), COLORS),
    one(
        "TIFF of floats from 0 to 1",
        "a.tif",
        encoded(Image.fromarray(np.asarray(quadrants("L"), dtype=np.float32) / 255), "TIFF"),
        GRAYS,
    ),
    one("TIFF of Lab", "a.tif", encoded(Image.new("LAB", (16, 16), (128, 128, 128)), "TIFF"), ((119,) * 3,) * 4, 1),
    one("PPM", "a.ppm", encoded(quadrants(), "PPM"), COLORS),
    one("TGA", "a.tga", encoded(quadrants(), "TGA"), COLORS),
    one("ICO", "a.ico", encoded(quadrants(), "ICO", sizes=[(16, 16)]), COLORS),
    one("JPEG 2000", "a.jp2", encoded(quadrants(), "JPEG2000"), COLORS, 2),
    one("one pixel", "a.png", encoded(Image.new("RGB", (1, 1), RED)), (RED,) * 4),
    one("one row", "a.png", encoded(Image.new("RGB", (300, 1), RED)), (RED,) * 4),
    one("one column", "a.png", encoded(Image.new("RGB", (1, 300), RED)), (RED,) * 4),
    one("a strip, squeezed", "a.png", encoded(Image.new("RGB", (5000, 2), RED)), (RED,) * 4, crop="none"),
    one("99 million pixels", "a.png", encoded(Image.new("1", (9900, 10000), 1)), (WHITE,) * 4),
    # Names and suffixes
    one("PNG that is called .jpg", "a.jpg", PNG, COLORS),
    one("JPEG that is called .PNG", "a.PNG", JPEG, COLORS, 2),
    one("WebP that is called .jpeg", "a.jpeg", encoded(quadrants(), "WEBP", lossless=True), COLORS),
    Case("names", lambda root: named(root, NAMES), dict.fromkeys(NAMES, COLORS)),
    Case("two names, one file", lambda root: named(root, ("a.png", "b.png")), {"a.png": COLORS, "b.png": COLORS}),
    one("no suffix", "picture", PNG, None),
    one("another suffix", "a.dat", PNG, None),
    Case("files that systems leave behind", junk, {"a.png": COLORS}),
    Case(
        "deep folders, empty ones, and one that looks like an image",
        deep,
        {"d/" * 60 + "a.png": COLORS, "looks like.png/b.png": COLORS},
    ),
    Case("links", links, {"again/a.png": COLORS, "b.png": COLORS, "real/a.png": COLORS}),
    Case("links in a circle", circles, {"real/a.png": COLORS}, {"itself.png": "symbolic links"}),
    # What is refused
    bad("empty", "a.png", b"", "the file is empty"),
    bad("text", "a.jpg", b"hello\n" * 500, "not an image"),
    bad("HTML", "a.jpg", b"<!DOCTYPE html><html><body>404 Not Found</body></html>", "not an image"),
    bad("JSON", "a.png", b'{"error": 403}', "not an image"),
    bad("zeros", "a.jpg", b"\0" * 5000, "not an image"),
    bad("a file of a program", "a.png", b"\x7fELF" + b"\0" * 500, "not an image"),
    bad("PDF", "a.jpg", b"%PDF-1.7\n" * 50, "not an image"),
    bad(
        "PostScript, which would be run", "a.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"
    ),
    bad("SVG", "a.png", b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>", "not an image"),
    bad("zip", "a.png", b"PK\x05\x06" + b"\0" * 18, "not an image"),
    bad("truncated PNG", "a.png", encoded(noise())[:6000], "truncated"),
    bad("truncated JPEG", "a.jpg", encoded(noise(), "JPEG")[:2000], "truncated"),
    bad("JPEG without its last two bytes", "a.jpg", JPEG[:-2], "truncated"),
    bad("truncated GIF", "a.gif", encoded(noise(), "GIF")[:3000], "truncated"),
    bad("truncated WebP", "a.webp", encoded(noise(), "WEBP")[:1500], ""),
    bad("truncated TIFF", "a.tif", encoded(noise(), "TIFF", compression="tiff_lzw")[:6000], ""),
    bad("truncated BMP", "a.bmp", encoded(noise(), "BMP")[:6000], "truncated"),
    bad("header alone", "a.png", PNG[:33], ""),
    bad("first bytes alone", "a.png", PNG[:8], "not an image"),
    bad(
        "PNG with a flipped byte",
        "a.png",
        (d := encoded(noise()))[:5000] + bytes([d[5000] ^ 0x55]) + d[5001:],
        "broken",
    ),
    bad("PNG of no width", "a.png", png_chunks(struct.pack(">IIBBBBB", 0, 16, 8, 2, 0, 0, 0), b""), ""),
    bad(
        "decompression bomb",
        "a.png",
        png_chunks(struct.pack(">IIBBBBB", 40000, 40000, 1, 0, 0, 0, 0), b"\0" * 9000),
        "suspiciously large",
    ),
    bad(
        "bomb in a comment",
        "a.png",
        png_chunks(PNG[16:29], b"", (b"zTXt", b"k\0\0" + zlib.compress(b"\0" * 2**23))),
        "",
    ),
    bad("TIFF of floats beyond 1", "a.tif", encoded(Image.new("F", (16, 16), 3.5), "TIFF"), "between 0 and 1"),
    bad("TIFF of nans", "a.tif", encoded(Image.new("F", (16, 16), float("nan")), "TIFF"), "between 0 and 1"),
    bad("TIFF of negative numbers", "a.tif", encoded(Image.new("I", (16, 16), -5), "TIFF"), "between 0 and 65535"),
    bad("smaller than the crop", "a.png", PNG, "16×16 pixels is smaller than the crop of 20", crop=20),
    bad("a strip made longer still", "a.png", encoded(Image.new("1", (60000, 1))), "too long a strip", resize_first=64),
    Case(
        "link to nowhere",
        lambda root: (root / "a.png").symlink_to(root / "gone.png"),
        refused={"a.png": "No such file"},
    ),
    Case("pipe and device, which never end", pipes, refused={"device.png": "not a file", "pipe.png": "not a file"}),
    bad("a name that would break the message", "a\n  b.png: fine\x1b[2J.png", b"", "the file is empty"),
]
if features.check("avif"):
    CASES.append(one("AVIF", "a.avif", encoded(quadrants(), "AVIF", quality=100, subsampling="4:4:4"), COLORS, 4))
if sys.platform == "linux":
    CASES.append(
        Case(
            "a disk that cannot read a file",
            lambda root: (root / "a.png").symlink_to("/proc/self/mem"),
            refused={"a.png": "Input/output error"},
        )
    )
