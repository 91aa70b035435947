"""State of the process, beside the random numbers, that what is computed depends on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock

import torch

from ganzoo.errors import RequestError

_TRAINS = RLock()


@contextmanager
def torch_defaults() -> Iterator[None]:
    """Record gradients and make tensors of fp32, whatever the caller has set, which is restored on exit."""
    dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        torch.set_default_dtype(dtype)


@contextmanager
def training_alone() -> Iterator[None]:
    """Train with torch's defaults, in one thread of the process at a time; a run may train another inside.

    Raises:
        RequestError: another thread trains.
    """
    if not _TRAINS.acquire(blocking=False):
        raise RequestError(
            "another thread of this process trains, and both would draw from the same random numbers: train in "
            "processes of their own, as `ganzoo sweep` does, or one after the other"
        )
    try:
        with torch_defaults():
            yield
    finally:
        _TRAINS.release()
