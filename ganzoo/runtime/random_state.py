"""Random number generators: seeded, saved and restored, and drawn from by several processes together."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from ganzoo.runtime.restored import check_like

SIZED: tuple[Callable[..., Any], ...] = (torch.rand, torch.randn, torch.randint)


def seed_everything(seed: int) -> None:
    """Seed every global random number generator that a component may use."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def random_state(device: torch.device, rng: torch.Generator) -> dict[str, Any]:
    """Return the state of every generator, the run's own `rng` and the global ones, as tensors and plain values."""
    kind, keys, *rest = np.random.get_state()
    return {
        "trainer": rng.get_state(),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        "mps": torch.mps.get_rng_state() if device.type == "mps" else None,
        "python": random.getstate(),
        "numpy": [kind, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest],
    }


def set_random_state(state: Mapping[str, Any], device: torch.device, rng: torch.Generator) -> None:
    """Restore the state that `random_state` returned.

    Raises:
        ValueError: it is not a state that such generators can be in; none is changed.
    """
    _check_state(state, random_state(device, rng))
    rng.set_state(state["trainer"])
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], device)
    if state["mps"] is not None and device.type == "mps":
        torch.mps.set_rng_state(state["mps"])
    random.setstate(state["python"])
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))


def _check_state(state: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """Check a state against the generators' own: torch and NumPy draw from beyond their memory after some others."""
    for name in own.keys() - {"python"}:
        if state[name] is not None and own[name] is not None:  # one of them on another kind of device
            check_like(state[name], own[name], f"random.{name}")
    *drawn, gauss = state["python"]
    check_like((*drawn, None), (*own["python"][:-1], None), "random.python")
    if gauss is not None:
        check_like(gauss, 0.0, "random.python.2")
    if state["numpy"][2] > _MERSENNE_WORDS:
        raise ValueError(f"random.numpy.2 is {state['numpy'][2]}, and must be {_MERSENNE_WORDS} at most")
    for name in ("trainer", "torch"):
        if state[name].numel() == own["torch"].numel():  # of the CPU, as ATen's CPUGeneratorImpl.cpp lays it out
            left, used = state[name][8:12].clone().view(torch.int32), state[name][16:24].clone().view(torch.int64)
            if not 0 <= int(used) <= _MERSENNE_WORDS + 1 - int(left):
                raise ValueError(f"random.{name} has {int(left)} numbers left after {int(used)}")


_MERSENNE_WORDS = 624


@contextmanager
def kept_random_state() -> Iterator[None]:
    """Restore every global random number generator on exit: Python's, numpy's, torch's and those of its devices."""
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None  # type: ignore[no-untyped-call]
    mps = torch.mps.get_rng_state() if torch.backends.mps.is_available() else None
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)
        if cuda is None:
            torch.cuda.manual_seed_all(torch.initial_seed())  # what the caller's first use of CUDA would have found
        else:
            torch.cuda.set_rng_state_all(cuda)
        if mps is not None:
            torch.mps.set_rng_state(mps)


@contextmanager
def seeded_generators(seed: int) -> Iterator[None]:
    """Seed the global generators; restore them on exit."""
    with kept_random_state():
        seed_everything(seed)
        yield


class ShardedRNG(TorchFunctionMode):
    """While open, cut draws from `rng` for the whole minibatch to the rows of this process.

    So latents and noise do not depend on the number of processes, and `rng` is in the same state in all of
    them. That is exact for `torch.rand`, `randn` and `randint`; any other function is called once for each
    process. A scalar, or a single row where a process has several images, is the same in all processes.

    Args:
        rng: the run's; draws from others are left alone.
        rows: images of the minibatch that this process has.
        rank: of this process.
        count: of processes.
    """

    def __init__(self, rng: torch.Generator, rows: int, rank: int, count: int) -> None:
        super().__init__()
        self._rng = rng
        self._rows = rows
        self._rank = rank
        self._count = count

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call torch's function, cutting the result to this process's rows where it draws from `rng`."""
        options = dict(kwargs or {})
        if options.get("generator") is not self._rng:
            return func(*args, **options)
        if func not in SIZED or "out" in options:
            return self._draw_for_each_process(func, args, options)
        bounds, size = _split(func, args, options)
        if not self._has_row_for_each_image(size):
            return func(*bounds, size, **options)
        rows = size[0]
        return func(*bounds, (rows * self._count, *size[1:]), **options).narrow(0, self._rank * rows, rows)

    def _draw_for_each_process(self, func: Callable[..., Any], args: Sequence[Any], options: Mapping[str, Any]) -> Any:
        """Call `func` once for each process and return this process's draw."""
        draws = [func(*args, **options).clone() for _ in range(self._count)]
        own = draws[self._rank if self._has_row_for_each_image(draws[0].shape) else 0]
        target = args[0] if func.__name__.endswith("_") else options.get("out")
        return own if target is None else target.copy_(own)

    def _has_row_for_each_image(self, size: Sequence[int]) -> bool:
        return len(size) > 0 and (size[0] > 1 or size[0] == self._rows)


def _split(
    func: Callable[..., Any], args: Sequence[Any], options: dict[str, Any]
) -> tuple[Sequence[Any], Sequence[int]]:
    """Split the arguments into those before the size, and the size, which is removed from `options`."""
    if "size" in options:
        return args, tuple(options.pop("size"))
    if func is torch.randint or (args and not isinstance(args[0], int)):
        return args[:-1], tuple(args[-1])
    return (), tuple(args)
