"""The normalizations of both generators."""

from __future__ import annotations

from ganzoo_dcgan.patchgan import PATCH_NORMS as NORMS

__all__ = ["NORMS", "has_bias"]


def has_bias(norm: str) -> bool:
    """Return whether convolutions before this normalization have a bias, which batch norm has itself."""
    return norm != "batch"
