"""Says where two checkpoints, or two runs, are not the same to the bit, for the tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ganzoo.storage.run_directory import RunDirectory

TIMED = ("seconds", "images_per_second")


def differences(ours: Any, theirs: Any, at: str = "") -> list[str]:
    """Where two nested states are not the same to the bit."""
    if isinstance(ours, dict) and isinstance(theirs, dict) and ours.keys() == theirs.keys():
        return [d for key in ours for d in differences(ours[key], theirs[key], f"{at}.{key}")]
    if isinstance(ours, list | tuple) and isinstance(theirs, list | tuple) and len(ours) == len(theirs):
        return [d for i, (a, b) in enumerate(zip(ours, theirs, strict=True)) for d in differences(a, b, f"{at}.{i}")]
    if isinstance(ours, Tensor) and isinstance(theirs, Tensor):
        return [] if ours.dtype == theirs.dtype and torch.equal(ours, theirs) else [at]
    return [] if type(ours) is type(theirs) and ours == theirs else [at]


def state_of(path: Path) -> dict[str, Any]:
    """The training state of a checkpoint, without what a clock says."""
    state = torch.load(path / "state.pt", weights_only=True)
    return {key: value for key, value in state.items() if key not in TIMED}


def assert_same_checkpoint(ours: Path, theirs: Path) -> None:
    """Every weight, every moment of the optimizers, every random number to come, and the place in the data."""
    names = sorted(file.name for file in ours.iterdir())
    assert names == sorted(file.name for file in theirs.iterdir())
    assert {"generator.safetensors", "discriminator.safetensors", "state.pt"} < set(names)
    for name in names:
        if name.endswith(".safetensors"):
            assert (ours / name).read_bytes() == (theirs / name).read_bytes(), name
    assert differences(state_of(ours), state_of(theirs)) == []


def rows(run: Path) -> list[dict[str, Any]]:
    """The metrics, without what a clock says."""
    return [{k: v for k, v in row.items() if k not in TIMED} for row in RunDirectory(run).read_metrics()]
