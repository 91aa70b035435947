"""Folders of images, and what `image_folder` makes of them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from ganzoo_datasets.configs import ImageFolderConfig
from ganzoo_datasets.image_folder import ImageFolder
from PIL import Image

from ganzoo.data.packed_dataset import PackedDataset, pack_dataset
from ganzoo.data.prepare import examine_dataset


def folder(root: Path, **options: Any) -> ImageFolder:
    return ImageFolder(
        ImageFolderConfig(root=str(root), **{"image_size": 8, "channels": 1, "resize": "nearest", **options})
    )


def pack(root: Path, **options: Any) -> PackedDataset:
    """Pack a folder, and check that the doctor finds what the pack does."""
    packed = pack_dataset(folder(root, **options), cache=_cache(root))
    assert tuple(examine_dataset(folder(root, **options)).notes) == packed.findings
    again = pack_dataset(folder(root, **options), cache=_cache(root))
    assert (again.path, again.findings) == (packed.path, packed.findings)
    return packed


def _cache(root: Path) -> Path:
    return next(path for path in root.parents if path.name.startswith("test_")) / "cache"


def picture(seed: int = 0, mode: str = "RGB", size: tuple[int, int] = (16, 16)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)).convert(mode)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def put(root: Path, *names: str) -> None:
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        picture(number).save(root / name)
