"""Small datasets written in the formats that the real ones have."""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import numpy as np
from PIL import Image

RNG = np.random.default_rng(0)


def write_idx(path: Path, values: np.ndarray) -> None:
    """One IDX file of unsigned bytes, as MNIST has them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = bytes([0, 0, 8, values.ndim]) + b"".join(size.to_bytes(4, "big") for size in values.shape)
    path.write_bytes(header + values.tobytes())


def write_mnist(root: Path, name: str = "MNIST", train: int = 12) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """MNIST's or Fashion-MNIST's four files; the images and labels of each part."""
    written = {}
    for part, count in (("train", train), ("t10k", 5)):
        images = RNG.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = np.arange(count, dtype=np.uint8) % 10
        write_idx(root / name / "raw" / f"{part}-images-idx3-ubyte", images)
        write_idx(root / name / "raw" / f"{part}-labels-idx1-ubyte", labels)
        written[part] = images, labels
    return written


def write_cifar10(root: Path) -> np.ndarray:
    """CIFAR-10's six batches of four images, without the checksums of the real ones: (6, 4, 3, 32, 32)."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    images = RNG.integers(0, 256, (6, 4, 3, 32, 32), dtype=np.uint8)
    names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    for name, part in zip(names, images, strict=True):
        (folder / name).write_bytes(pickle.dumps({"data": part.reshape(4, -1), "labels": [0, 1, 2, 9]}))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": ["airplane"]}))
    return images


def write_svhn(root: Path, split: str = "train", count: int = 5) -> np.ndarray:
    """One of SVHN's files, whose label 10 is the digit 0: images (32, 32, 3, count), labels 1, 2, 9, 10, 1, …"""
    from scipy.io import savemat

    images = RNG.integers(0, 256, (32, 32, 3, count), dtype=np.uint8)
    labels = np.resize(np.array([1, 2, 9, 10, 1], dtype=np.uint8), (count, 1))
    savemat(root / f"{split}_32x32.mat", {"X": images, "y": labels})
    return images


def gray_jpeg(value: int) -> bytes:
    """A file of CelebA's size, all of one gray."""
    file = io.BytesIO()
    Image.new("L", (178, 218), value).convert("RGB").save(file, "JPEG", quality=95)
    return file.getvalue()


def celeba_names(count: int) -> list[str]:
    """The names of CelebA's first images."""
    return [f"{number:06d}.jpg" for number in range(1, count + 1)]


def gray_png(value: int) -> bytes:
    """A small image of one gray, as a database of LSUN could hold."""
    file = io.BytesIO()
    Image.new("RGB", (20, 16), (value, value, value)).save(file, "PNG")
    return file.getvalue()


def write_lsun(root: Path, name: str, values: tuple[int, ...]) -> Path:
    """A real database of LSUN's, with an image for each gray value; needs lmdb."""
    import lmdb

    path = root / f"{name}_lmdb"
    with lmdb.open(str(path), map_size=2**24) as environment, environment.begin(write=True) as transaction:
        for number, value in enumerate(values):
            transaction.put(f"{number:06d}".encode(), gray_png(value))
    return path
