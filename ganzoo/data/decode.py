"""Decoding of a dataset over all cores, in order and in bounded memory, into one `.npy` file."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from ganzoo.components.dataset import Dataset, ImageSource
from ganzoo.data.geometry import to_pixels

_TASK_IMAGES = 64
_TASK_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True)
class DecodedImages:
    """What became of a dataset's images: the labels of the good ones, and what is wrong with each bad one."""

    labels: list[int]
    bad: list[str]


@dataclass(frozen=True)
class _Chunk:
    pixels: list[npt.NDArray[np.uint8]]
    labels: list[int]
    bad: list[str]


def decode_images(
    dataset: Dataset,
    source: ImageSource,
    file: BinaryIO,
    progress: Callable[[int, int], None] | None = None,
) -> DecodedImages:
    """Write all images that can be read as one array (N, H, W, C) uint8 in numpy's format.

    Threads suffice, since PIL decodes and resizes without the interpreter's lock. A file is written
    rather than a memory map, because a full disk is then an error and not a bus error.

    Args:
        dataset: its options say how to crop and resize; it also names images in messages.
        source: the dataset's images.
        file: a seekable file, open for writing.
        progress: called with the images done and their total after each chunk.
    """
    count, config = len(source), dataset.config
    shape = (config.image_size, config.image_size, config.channels)
    header_size = _write_header(file, (count, *shape))
    step = max(1, min(_TASK_IMAGES, _TASK_BYTES // (shape[0] * shape[1] * shape[2])))
    workers = os.cpu_count() or 1
    starts = deque(range(0, count, step))
    running: deque[Future[_Chunk]] = deque()
    labels: list[int] = []
    bad: list[str] = []
    executor = ThreadPoolExecutor(workers, thread_name_prefix="ganzoo-decode")
    try:
        while starts or running:
            while starts and len(running) < 2 * workers:
                start = starts.popleft()
                running.append(executor.submit(_decode, dataset, source, range(start, min(start + step, count))))
            chunk = running.popleft().result()
            for pixels in chunk.pixels:
                file.write(pixels.tobytes())
            labels += chunk.labels
            bad += chunk.bad
            if progress is not None:
                progress(len(labels) + len(bad), count)
    finally:
        executor.shutdown(cancel_futures=True)
    file.seek(0)
    rewritten = _write_header(file, (len(labels), *shape))
    assert rewritten == header_size, "numpy pads the header so that the first axis may change"
    file.flush()
    return DecodedImages(labels, bad)


def _decode(dataset: Dataset, source: ImageSource, indices: range) -> _Chunk:
    chunk = _Chunk([], [], [])
    for index in indices:
        try:
            image, label = source[index]
            pixels = to_pixels(image, dataset.config)
        except Exception as error:  # decoders raise nearly every type on damaged files
            chunk.bad.append(f"{dataset.describe(index)}: {_reason(error)}")
        else:
            chunk.pixels.append(pixels)
            chunk.labels.append(int(label))
    return chunk


def _reason(error: Exception) -> str:
    """What is wrong with an image, in a user's words where PIL's are of no help."""
    if isinstance(error, UnidentifiedImageError):
        return "not an image in a format that can be read"
    if isinstance(error, Image.DecompressionBombError):
        return f"suspiciously large: {error}"
    if isinstance(error, ValueError) and str(error):
        return str(error)
    if isinstance(error, OSError) and str(error):
        return error.strerror or str(error)
    return f"{type(error).__name__}: {error}"


def _write_header(file: BinaryIO, shape: tuple[int, ...]) -> int:
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file.tell()
