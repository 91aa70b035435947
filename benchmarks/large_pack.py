"""Batches from a pack that memory does not hold, with reads of single images and with what the system does by itself.

    python benchmarks/large_pack.py [--times 1.5] [--folder /tmp]

Writes a file `times` the machine's memory of random images of 64 pixels, and removes it again. The two take turns, each
from a file that the system was told to forget; wall time, and what came from the disk.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from unittest import mock

import torch

from ganzoo.components.spec import DatasetInfo, ImageSpec
from ganzoo.data.decode import npy_header
from ganzoo.data.loader import Loader
from ganzoo.data.packed_dataset import PackedDataset, _map
from ganzoo.runtime.memory import physical_memory

SHAPE = (64, 64, 3)
BATCH = 64
BATCHES = {"by itself": 60, "single images": 600}
STEP = 0.05


def write(path: Path, size: int) -> int:
    """Write a pack's images of so many bytes; returns how many images."""
    block = os.urandom(64 * 64 * 3 * 1000)
    blocks = size // len(block)
    with path.open("wb") as file:
        file.write(npy_header((blocks * 1000, *SHAPE)))
        for _ in range(blocks):
            file.write(block)
    return blocks * 1000


def bytes_read() -> int:
    """From the disk, by this process so far."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("read_bytes"))


def turn(path: Path, count: int, way: str, seed: int) -> str:
    """Draw batches one after the other, then with the time of a training step in between."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    pixels = _map(path, {"shape": (count, *SHAPE), "dtype": "uint8"}, SHAPE)
    packed = PackedDataset(pixels, None, DatasetInfo(ImageSpec(3, 64, 64)), (), path, "")
    memory = physical_memory() if way == "single images" else 10**18
    with mock.patch("ganzoo.data.loader.physical_memory", return_value=memory):
        loader = Loader(packed, batch_size=BATCH, seed=seed, device="cpu")
    loader.next()
    batches, before, started = BATCHES[way], bytes_read(), time.perf_counter()
    for _ in range(batches):
        loader.next()
    in_a_row = (time.perf_counter() - started) / batches
    read = (bytes_read() - before) / batches
    waited = 0.0
    for _ in range(batches // 4):
        time.sleep(STEP)
        started = time.perf_counter()
        loader.next()
        waited += time.perf_counter() - started
    each = waited / (batches // 4)
    return f"| {way} | {BATCH / in_a_row:,.0f} | {read / 1e6:.1f} | {in_a_row * 1e3:.1f} | {each * 1e3:.1f} |"


def main() -> None:
    """Measure and report."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--times", type=float, default=1.5, help="the machine's memory")
    options.add_argument("--folder", type=Path, help="where the file goes; left out: where temporary files do")
    options.add_argument("--rounds", type=int, default=2)
    arguments = options.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        path = Path(folder) / "images.npy"
        count = write(path, int(arguments.times * physical_memory()))
        print(f"{count:,} images, {path.stat().st_size / 1e9:.1f} GB; {physical_memory() / 1e9:.1f} GB of memory\n")
        print("| reads | images a second | MB read a batch | ms a batch | ms a batch, 50 ms after the last |")
        print("|---|---|---|---|---|")
        for seed in range(arguments.rounds):
            for way in BATCHES:
                print(turn(path, count, way, seed), flush=True)


if __name__ == "__main__":
    main()
