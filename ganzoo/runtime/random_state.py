"""Seeding, saving and restoring the random number generators of the process and the run."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


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
    """Restore the state that `random_state` returned."""
    rng.set_state(state["trainer"])
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], device)
    if state["mps"] is not None and device.type == "mps":
        torch.mps.set_rng_state(state["mps"])
    random.setstate(state["python"])
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))


@contextmanager
def seeded_generators(seed: int, device: torch.device) -> Iterator[None]:
    """Seed the global generators; restore them on exit."""
    unused = torch.Generator(device)
    before = random_state(device, unused)
    seed_everything(seed)
    try:
        yield
    finally:
        set_random_state(before, device, unused)
