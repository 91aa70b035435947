"""Check of values from a file against those that they replace, before they reach code that does not look at them."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

LARGEST = 2**63
"""No count reaches it, and torch takes no integer from it on."""


def check_like(found: Any, expected: Any, what: str) -> None:
    """Check that a value has the form of the one it replaces: type, keys, lengths, shape and dtype of tensors.

    A number must be finite, and not negative, where the other one is.

    Raises:
        ValueError: it has not; the text names the part by its place in `what`.
    """
    if isinstance(expected, Tensor) and isinstance(found, Tensor):
        if (found.shape, found.dtype) != (expected.shape, expected.dtype):
            raise ValueError(f"{what} is {in_words(found)}, and must be {in_words(expected)}")
    elif type(found) is not type(expected):
        raise ValueError(f"{what} is {in_words(found)}, and must be {in_words(expected)}")
    elif isinstance(expected, dict):
        for key in {**expected, **found}:
            if key not in found or key not in expected:
                raise ValueError(f"{what} {'lacks' if key in expected else 'has no place for'} {str(key)[:99]!r}")
            check_like(found[key], expected[key], f"{what}.{key}")
    elif isinstance(expected, list | tuple):
        if len(found) != len(expected):
            raise ValueError(f"{what} has {len(found)} entries, and must have {len(expected)}")
        for number, pair in enumerate(zip(found, expected, strict=True)):
            check_like(*pair, f"{what}.{number}")
    elif isinstance(expected, int) and not (-LARGEST if expected < 0 else 0) <= found < LARGEST:
        raise ValueError(f"{what} is {'negative' if found < 0 else 'beyond any count'}")
    elif isinstance(expected, float) and math.isfinite(expected) and not math.isfinite(found):
        raise ValueError(f"{what} is {found}")


def in_words(value: Any) -> str:
    """Return what a value is, short, whatever it holds."""
    if isinstance(value, Tensor):
        return f"a tensor {tuple(value.shape)} of {str(value.dtype).removeprefix('torch.')}"
    return "None" if value is None else f"of type {type(value).__name__}"
