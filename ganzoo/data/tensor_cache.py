"""Tensors that take long to compute, in the cache folder."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial

from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor

from ganzoo.data.packed_dataset import cache_folder
from ganzoo.errors import OutputError
from ganzoo.runtime.memory import physical_memory
from ganzoo.storage.disk import write_atomic
from ganzoo.untrusted import read_bytes

Tensors = dict[str, Tensor]


def cached_tensors(place: str, compute: Callable[[], Tensors], fits: Callable[[Tensors], bool]) -> Tensors:
    """Return tensors from the cache, or compute and keep them; without a writable cache that only takes longer.

    Args:
        place: within the cache folder, such as "classifiers/0f3a-v1": its name says all that they depend on.
        compute: returns them.
        fits: says whether tensors that were found are such ones, by their names and shapes.

    Raises:
        DataError: there is no home folder for the cache, and none is named.
    """
    path = cache_folder() / f"{place}.safetensors"
    with suppress(OSError, SafetensorError):
        found = load(read_bytes(path, physical_memory()))
        if fits(found):
            return found
    tensors = compute()
    with suppress(OSError, OutputError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, partial(save_file, tensors))
    return tensors
