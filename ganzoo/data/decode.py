"""Parallel decoding of a dataset, in order and in bounded memory, into `.npy` files."""

from __future__ import annotations

import io
import os
import warnings
import zlib
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from ganzoo.data.samples import SampleReader
from ganzoo.errors import DataError
from ganzoo.runtime.cpu_threads import available_cores

_TASK_IMAGES = 64
_TASK_BYTES = 4 * 1024 * 1024

T = TypeVar("T")
Array = npt.NDArray[Any]


class NpyWriter:
    """Write samples one after the other into one array in numpy's format, and compute their checksum.

    It writes to a file rather than to a memory map, where a full disk would be a bus error instead of an exception.

    Args:
        path: of the file.
        shape: of one sample.
        count: largest number of samples.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], count: int) -> None:
        self.shape = shape
        self.count = 0
        self.checksum = 0
        self.dtype = np.dtype(np.uint8)
        self._most = count
        self._file = path.open("wb")

    def write(self, sample: Array) -> None:
        """Append one sample; all are of the type of the first."""
        if not self.count:
            self.dtype = sample.dtype
            self._file.write(npy_header((self._most, *self.shape), self.dtype))
        data = sample.tobytes()
        self.checksum = zlib.crc32(data, self.checksum)
        self._file.write(data)
        self.count += 1

    def __enter__(self) -> NpyWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        """Write the number of samples into the header and flush all to the disk, unless there was an error."""
        with self._file:
            if kind is None:
                header = npy_header((self._most, *self.shape), self.dtype)
                self._file.seek(0)
                rewritten = self._file.write(npy_header((self.count, *self.shape), self.dtype))
                assert rewritten == len(header), "numpy pads the header so that the first axis may change"
                self._file.flush()
                os.fsync(self._file.fileno())

    def facts(self) -> dict[str, Any]:
        """Return shape, type and checksum of the array, for JSON."""
        return {"shape": [self.count, *self.shape], "dtype": self.dtype.str, "checksum": self.checksum}


def decode_samples(
    reader: SampleReader, files: Sequence[NpyWriter], progress: Callable[[int, int], None] | None = None
) -> tuple[list[Any], list[str]]:
    """Decode all readable samples into one file, and their conditions into a second one where they have any.

    Args:
        reader: gives the samples.
        files: for the samples, and for the conditions.
        progress: called with the samples done and their total after each task.

    Returns:
        The label of each sample that could be decoded, and each one that could not, with the reason.
    """
    count = len(reader)
    step = max(1, min(_TASK_IMAGES, _TASK_BYTES * count // max(1, reader.nbytes)))
    labels: list[Any] = []
    bad: list[str] = []
    with closing(in_order(count, step, partial(_decode, reader), progress)) as samples:
        for sample in samples:
            if isinstance(sample, str):
                bad.append(sample)
            else:
                *arrays, label = sample
                labels.append(label)
                for file, array in zip(files, arrays, strict=True):
                    file.write(array)
    return labels, bad


def in_order(
    count: int, step: int, work: Callable[[int], T], progress: Callable[[int, int], None] | None = None
) -> Generator[T, None, None]:
    """Yield the results of `work` on the numbers from 0 to `count`, computed on all cores, `step` of them in a task.

    Threads suffice, since PIL releases the interpreter's lock while it decodes and resizes. PIL's warnings are
    silenced: an image that can be read in spite of them is used.
    """
    workers = available_cores()
    tasks = deque(range(start, min(start + step, count)) for start in range(0, count, step))
    running: deque[Future[list[T]]] = deque()
    done = 0
    executor = ThreadPoolExecutor(workers, thread_name_prefix="ganzoo-decode")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        try:
            while tasks or running:
                while tasks and len(running) < 2 * workers:
                    running.append(executor.submit(lambda task: [*map(work, task)], tasks.popleft()))
                results = running.popleft().result()
                yield from results
                done += len(results)
                if progress is not None:
                    progress(done, count)
        finally:
            executor.shutdown(cancel_futures=True)


def _decode(reader: SampleReader, index: int) -> tuple[Any, ...] | str:
    """Return what `read` does, or which sample cannot be used and why."""
    try:
        return reader.read(index)
    except DataError:  # the dataset as a whole is wrong
        raise
    except Exception as error:  # decoders raise nearly every type on damaged files
        reader.surveys[0].fail(error)
        return f"{reader.describe(index)}: {unusable_reason(error)}"


def unusable_reason(error: Exception) -> str:
    """Return why an image cannot be used, in plain words where PIL's message is of no help."""
    if isinstance(error, UnidentifiedImageError):
        return "not an image in a format that can be read"
    if isinstance(error, Image.DecompressionBombError):
        return f"suspiciously large: {error} If it really has that many, set dataset.max_pixels"
    if isinstance(error, ValueError) and str(error):
        return str(error)
    if isinstance(error, OSError) and str(error):
        return error.strerror or str(error)
    return f"{type(error).__name__}: {error}"


def npy_header(shape: tuple[int, ...], dtype: npt.DTypeLike = np.uint8) -> bytes:
    """Return the header of a `.npy` file that holds an array of this shape and type."""
    file = io.BytesIO()
    descr = np.dtype(dtype).str
    np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})
    return file.getvalue()
