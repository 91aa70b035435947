"""Parallel decoding of a dataset, in order and in bounded memory, into one `.npy` file."""

from __future__ import annotations

import io
import os
import warnings
import zlib
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import BinaryIO, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from ganzoo.components.dataset import Dataset, ImageSource
from ganzoo.data.transforms import to_pixels

_TASK_IMAGES = 64
_TASK_BYTES = 4 * 1024 * 1024

T = TypeVar("T")


@dataclass(frozen=True)
class DecodedImages:
    """Result of decoding a dataset.

    Attributes:
        labels: class index of each image that could be decoded.
        bad: each image that could not, with the reason.
        checksum: CRC-32 of all pixels.
    """

    labels: list[int]
    bad: list[str]
    checksum: int


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
    """Decode all readable images into one array (N, H, W, C) uint8 in numpy's format.

    It writes to a file rather than to a memory map, where a full disk would be a bus error instead of an exception.

    Args:
        dataset: gives the crop and the size, and names images in messages.
        source: the dataset's images.
        file: a seekable file, open for writing.
        progress: called with the images done and their total after each chunk.
    """
    count, config = len(source), dataset.config
    shape = (config.image_size, config.image_size, config.channels)
    file.write(header := npy_header((count, *shape)))
    step = max(1, min(_TASK_IMAGES, _TASK_BYTES // (shape[0] * shape[1] * shape[2])))
    labels: list[int] = []
    bad: list[str] = []
    checksum = 0
    with closing(map_chunks(count, step, lambda indices: _decode(dataset, source, indices))) as chunks:
        for chunk in chunks:
            for pixels in chunk.pixels:
                data = pixels.tobytes()
                checksum = zlib.crc32(data, checksum)
                file.write(data)
            labels += chunk.labels
            bad += chunk.bad
            if progress is not None:
                progress(len(labels) + len(bad), count)
    file.seek(0)
    rewritten = file.write(npy_header((len(labels), *shape)))
    assert rewritten == len(header), "numpy pads the header so that the first axis may change"
    file.flush()
    return DecodedImages(labels, bad, checksum)


def map_chunks(count: int, step: int, work: Callable[[range], T]) -> Generator[T, None, None]:
    """Yield the results of `work` on consecutive ranges of at most `step` of `count` images, computed on all cores.

    Threads suffice, since PIL releases the interpreter's lock while it decodes and resizes. PIL's warnings are
    silenced: an image that can be read in spite of them is used.
    """
    workers = os.cpu_count() or 1
    starts = deque(range(0, count, step))
    running: deque[Future[T]] = deque()
    executor = ThreadPoolExecutor(workers, thread_name_prefix="ganzoo-decode")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        try:
            while starts or running:
                while starts and len(running) < 2 * workers:
                    start = starts.popleft()
                    running.append(executor.submit(work, range(start, min(start + step, count))))
                yield running.popleft().result()
        finally:
            executor.shutdown(cancel_futures=True)


def _decode(dataset: Dataset, source: ImageSource, indices: range) -> _Chunk:
    chunk = _Chunk([], [], [])
    for index in indices:
        try:
            image, label = source[index]
            pixels = to_pixels(image, dataset.config)
        except Exception as error:  # decoders raise nearly every type on damaged files
            chunk.bad.append(f"{dataset.describe(index)}: {reason(error)}")
        else:
            chunk.pixels.append(pixels)
            chunk.labels.append(int(label))
    return chunk


def reason(error: Exception) -> str:
    """Return why an image cannot be used, in plain words where PIL's message is of no help."""
    if isinstance(error, UnidentifiedImageError):
        return "not an image in a format that can be read"
    if isinstance(error, Image.DecompressionBombError):
        return f"suspiciously large: {error}"
    if isinstance(error, ValueError) and str(error):
        return str(error)
    if isinstance(error, OSError) and str(error):
        return error.strerror or str(error)
    return f"{type(error).__name__}: {error}"


def npy_header(shape: tuple[int, ...]) -> bytes:
    """Return the header of a `.npy` file that holds a uint8 array of this shape."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return file.getvalue()
