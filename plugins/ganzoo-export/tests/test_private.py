"""What is taken out of options that are given away."""

from __future__ import annotations

import pytest
from ganzoo_export.private import without_folders

from ganzoo.plugin import DatasetConfig, Options


class Pairs(DatasetConfig):
    """A dataset made of another."""

    source: DatasetConfig


class Extractor(Options):
    """An extractor with a file."""

    weights: str
    names: tuple[str, ...] = ()


def test_datasets_within_datasets_lose_their_roots():
    source = DatasetConfig(name="image_folder", root="faces", classes=("/m/01g317", 3))
    pairs = without_folders(Pairs(name="pairs", root="/home/me", source=source, limit=5))
    assert pairs == Pairs(name="pairs", source=DatasetConfig(name="image_folder", classes=("/m/01g317", 3)), limit=5)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("/home/me/inception.pth", "inception.pth"),
        (r"C:\Users\me\inception.pth", "inception.pth"),
        ("IMAGENET1K_V1", "IMAGENET1K_V1"),
        ("weights/inception.pth", "weights/inception.pth"),
        ("/", "/"),
    ],
)
def test_of_an_absolute_path_the_last_part_is_left(text: str, left: str):
    assert without_folders(Extractor(weights=text, names=(text,))) == Extractor(weights=left, names=(left,))
    assert without_folders({"real": {"root": text, "files": [text]}}) == {"real": {"files": [left]}}
