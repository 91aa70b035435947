"""Errors for exhausted memory that say what was requested and which batch size would fit."""

from __future__ import annotations

import mmap
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from ganzoo.errors import TrainingError
from ganzoo.text import size_in_words

# torch's allocator of the CPU, oneDNN and MPS raise plain RuntimeErrors.
PHRASES = (
    *("out of memory", "can't allocate memory", "cannot allocate memory", "bad_alloc"),
    *("could not create a memory", "could not create a primitive"),
)
ASKED = re.compile(r"allocate (?:more than )?([\d.]+) ?([bKMGT])")


@contextmanager
def memory_errors(
    device: torch.device | None = None,
    batch_size: int | None = None,
    when: Callable[[], str] = lambda: "while the run was built",
) -> Iterator[None]:
    """Turn the errors of memory that runs out into one that says what would fit.

    Args:
        device: of the networks; default: not known yet.
        batch_size: what the memory that is taken while this is open grows with; default: it does not.
        when: in which step it was, for the error.

    Raises:
        TrainingError: the memory ran out.
    """
    before = in_use(device)
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        told = any(phrase in str(error).lower() for phrase in PHRASES)
        if not told and not isinstance(error, torch.OutOfMemoryError | MemoryError):
            raise
        raise TrainingError(error_text(str(error), device, batch_size, when(), before)) from error


def error_text(text: str, device: torch.device | None, batch_size: int | None, when: str, before: int | None) -> str:
    """Return the error in words, from torch's text; `before`: bytes in use when nothing of a batch was there."""
    found = ASKED.search(text)
    asked = int(float(found[1]) * 1024 ** "bKMGT".index(found[2])) if found else None
    free, used = free_memory(device), in_use(device)
    message = "out of memory" + (f" on {device}" if device is not None else "") + f" {when}"
    if asked is not None:
        message += f": {size_in_words(asked)} more were asked for"
        message += f", {size_in_words(free)} are free" if free is not None else ""
    elif text:
        message += f" ({text.splitlines()[0]})"
    if batch_size is None:
        return f"{message}. A smaller dataset.image_size or smaller networks take less"
    if batch_size == 1:
        return f"{message}. trainer.batch_size is 1 already: a smaller dataset.image_size or smaller networks take less"
    taken = max(used - before, 0) if used is not None and before is not None else 0
    fits = fitting_batch(batch_size, asked, free, taken)
    return f"{message}. trainer.batch_size is {batch_size}; about {fits} would fit: --set trainer.batch_size={fits}"


def fitting_batch(batch_size: int, asked: int | None, free: int | None, taken: int) -> int:
    """Return a power of two below `batch_size` that should fit, given that memory grows with the batch.

    The batch had taken `taken` bytes when it `asked` for more of them than were `free`.
    """
    share = 0.5 if asked is None or free is None or asked <= free else (taken + free) / (taken + asked)
    most = max(1, min(int(batch_size * share), batch_size - 1))
    return int(2 ** (most.bit_length() - 1))


def in_use(device: torch.device | None) -> int | None:
    """Return the bytes that this process has taken where its networks are."""
    if device is not None and device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * mmap.PAGESIZE
    except (OSError, ValueError):
        return None


def free_memory(device: torch.device | None) -> int | None:
    """Return the bytes that this process could take where its networks are, as far as the system says so."""
    if device is not None and device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device is not None and device.type != "cpu":
        return None
    bounds = []
    try:
        available = re.search(r"MemAvailable: +(\d+) kB", Path("/proc/meminfo").read_text())
        bounds += [int(available[1]) * 1024] if available else []
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        used = in_use(None)
        bounds += [max(limit - used, 0)] if limit != resource.RLIM_INFINITY and used is not None else []
    except (OSError, ImportError):
        pass
    return min(bounds, default=None)


def physical_memory() -> int:
    """Return the physical memory of the machine in bytes; a number beyond any where the system does not say."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else sys.maxsize
