"""How fast images get from JPEG files into a pack, and from the pack into batches.

    python benchmarks/packing.py [--rounds 5] [--json]

Decoding is measured in CPU time on one thread, against what training scripts do for each image in each epoch: PIL and
torchvision's transforms; with simplejpeg, if that is installed, and without. The JPEGs are made up: waves, edges and
grain, in the sizes of CelebA's files and of photos.
Then whole packing passes with threads and with processes, in wall time, and the steps from the pack to a batch, again
in CPU time on one thread, so that a busy machine does not count.
Everything takes turns, round by round; the best round counts.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import json
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from PIL import Image
from torchvision import transforms

from ganzoo.components.options import ImageDatasetConfig
from ganzoo.components.spec import DatasetInfo, ImageSpec
from ganzoo.data import image_files
from ganzoo.data.decode import in_order
from ganzoo.data.image_files import decode_image
from ganzoo.data.loader import Loader
from ganzoo.data.packed_dataset import PackedDataset
from ganzoo.data.transforms import to_pixels

SIZES = {(178, 218): 128, (512, 384): 48, (1024, 768): 16, (3000, 2000): 3}
BATCH = 64
PACK_IMAGES = 20_000
PLAIN = transforms.Compose(
    [
        transforms.Resize(64),
        transforms.CenterCrop(64),
        transforms.ToTensor(),
        transforms.Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    ]
)


def picture(width: int, height: int, seed: int) -> bytes:
    """A JPEG with about as many bytes a pixel as CelebA's."""
    rng = np.random.default_rng(seed)
    pixels = np.zeros((height, width, 3))
    for cells, strength in ((4, 0.6), (12, 0.3), (40, 0.1)):
        coarse = rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
        pixels += strength * np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    pixels += rng.normal(0, 3, pixels.shape)
    file = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=85)
    return file.getvalue()


def plain(data: bytes) -> Any:
    """An image as a training script reads it."""
    return PLAIN(Image.open(io.BytesIO(data)).convert("RGB"))


def all_plain(images: list[bytes]) -> list[Any]:
    """Several images as a training script reads them."""
    return [plain(data) for data in images]


def packed(config: ImageDatasetConfig, data: bytes) -> Any:
    """An image as it is packed."""
    return to_pixels(decode_image(data, config), config)


def by_pil(work: Callable[[], object]) -> None:
    """The same without simplejpeg."""
    with mock.patch.object(image_files, "simplejpeg", None):
        work()


def part(config: ImageDatasetConfig, images: list[bytes]) -> list[Any]:
    """Several of them, as one task of a process."""
    return [packed(config, data) for data in images]


def best(rounds: int, clock: Callable[[], float], **works: Callable[[], object]) -> dict[str, float]:
    """The least seconds that each of `works` took, taken in turns."""
    taken: dict[str, float] = dict.fromkeys(works, float("inf"))
    for _ in range(rounds):
        for name, work in works.items():
            started = clock()
            work()
            taken[name] = min(taken[name], clock() - started)
    return taken


def decoding(rounds: int) -> list[dict[str, Any]]:
    """CPU milliseconds an image, and how many times as fast as the plain way."""
    rows = []
    for (width, height), count in SIZES.items():
        images = [picture(width, height, seed) for seed in range(count)]
        whole, fast = (partial(part, ImageDatasetConfig(fast_decode=fast), images) for fast in (False, True))
        taken = best(
            rounds,
            time.process_time,
            plain=partial(all_plain, images),
            whole_by_pil=partial(by_pil, whole),
            whole=whole,
            fast_by_pil=partial(by_pil, fast),
            fast=fast,
        )
        row: dict[str, Any] = {"size": f"{width}×{height}", "kilobytes": len(images[0]) / 1000}
        row |= {f"{name}_ms": seconds / count * 1e3 for name, seconds in taken.items()}
        row |= {f"{name}_ratio": taken["plain"] / seconds for name, seconds in taken.items()}
        differences = [
            np.abs(packed(ImageDatasetConfig(), d).astype(int) - packed(ImageDatasetConfig(fast_decode=True), d))
            for d in images[:8]
        ]
        rows.append(row | {"fast_difference": float(np.mean(differences))})
    return rows


def passes(rounds: int) -> dict[str, float]:
    """Images a second over all cores, of CelebA's size, decoded whole."""
    images = [picture(178, 218, seed) for seed in range(128)] * 8
    config, step = ImageDatasetConfig(), 64
    parts = [images[start : start + step] for start in range(0, len(images), step)]
    with ProcessPoolExecutor(os.cpu_count()) as executor:
        list(executor.map(partial(part, config), parts))  # once, for the imports of the processes
        taken = best(
            rounds,
            time.perf_counter,
            one_thread=lambda: part(config, images),
            threads=lambda: list(in_order(len(images), step, lambda index: part(config, images[index : index + 1]))),
            processes=lambda: list(chain.from_iterable(executor.map(partial(part, config), parts))),
        )
    return {name: len(images) / seconds for name, seconds in taken.items()}


def feeding(rounds: int) -> dict[str, float]:
    """Images of 64 pixels from a memory map, a second of CPU time on one thread, by what is done."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images.npy"
        np.save(path, np.random.default_rng(0).integers(0, 256, (PACK_IMAGES, 64, 64, 3), dtype=np.uint8))
        pixels = np.load(path, mmap_mode="r")
        packed = PackedDataset(pixels, None, DatasetInfo(ImageSpec(3, 64, 64)), (), path, "")
        straight, mirrored = (
            Loader(packed, batch_size=BATCH, seed=0, device="cpu", horizontal_flip=flip) for flip in (False, True)
        )
        source = torch.from_numpy(np.load(path, mmap_mode="c"))
        int(pixels.sum())  # every page once
        orders = list(torch.randperm(PACK_IMAGES).split(BATCH))[:100]
        batch, floats = source[:BATCH], torch.empty((BATCH, 64, 64, 3))
        taken = best(
            rounds,
            time.process_time,
            gather_with_torch=lambda: [source.index_select(0, order) for order in orders],
            gather_with_numpy=lambda: [np.take(pixels, order.numpy(), axis=0) for order in orders],
            normalize_into_new_memory=lambda: [batch.to(torch.float32).sub_(127.5).mul_(1 / 127.5) for _ in orders],
            normalize_into_memory_at_hand=lambda: [floats.copy_(batch).sub_(127.5).mul_(1 / 127.5) for _ in orders],
            batches=lambda: [straight.next() for _ in orders],
            batches_mirrored=lambda: [mirrored.next() for _ in orders],
        )
    torch.set_num_threads(threads)
    return {name: len(orders) * BATCH / each for name, each in taken.items()}


def main() -> None:
    """Measure and report."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--json", action="store_true", help="print JSON")
    arguments = options.parse_args()
    decoded, passed, fed = decoding(arguments.rounds), passes(arguments.rounds), feeding(arguments.rounds)
    if arguments.json:
        print(json.dumps({"decoding": decoded, "passes": passed, "feeding": fed}, indent=2))
        return
    ways = {"whole_by_pil": "packed by PIL", "whole": "packed", "fast_by_pil": "fast by PIL", "fast": "fast_decode"}
    print("| JPEG | kB | plain, ms |", " | ".join(f"{way}, ms | ratio" for way in ways.values()), "| mean difference |")
    print("|---" * (4 + 2 * len(ways)) + "|")
    for row in decoded:
        figures = ["plain_ms", *(f"{way}_{figure}" for way in ways for figure in ("ms", "ratio")), "fast_difference"]
        print(f"| {row['size']} | {row['kilobytes']:.0f} |", " | ".join(f"{row[key]:.2f}" for key in figures), "|")
    if importlib.util.find_spec("simplejpeg") is None:
        print("\nsimplejpeg is not installed: all of it is by PIL")
    print("\nCelebA's size, images a second:", ", ".join(f"{name} {rate:.0f}" for name, rate in passed.items()))
    print("\n| from the pack to a batch | images a second |\n|---|---|")
    for name, rate in fed.items():
        print(f"| {name.replace('_', ' ')} | {rate:,.0f} |")


if __name__ == "__main__":
    main()
