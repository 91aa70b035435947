"""Weights of extractors: downloaded, checked, and loaded without running code from them."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ganzoo.errors import DataError, first_line
from ganzoo.storage import safe_load as reading

SECONDS = 15.0
"""Timeout of a download's connection in seconds."""


def downloaded(url: str, what: str, option: str, hash_prefix: str) -> Path:
    """Return the file of torch's cache for `url`, after downloading it where it is missing.

    Args:
        url: of the file.
        what: its name in messages.
        option: the key of a recipe that names a file to use instead.
        hash_prefix: what the SHA-256 of the file begins with.

    Raises:
        DataError: it cannot be fetched; the text says what to fetch and where to put it.
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not path.is_file():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with _download_timeout():
                torch.hub.download_url_to_file(url, str(path), hash_prefix)
        except (OSError, RuntimeError, ValueError) as error:
            raise DataError(
                f"{what} cannot be downloaded ({first_line(error)}): fetch {url} where there is a network, "
                f"and put it at {path}, or name its place with {option}"
            ) from error
    check_hash(path, what, hash_prefix)
    return path


def check_hash(path: Path, what: str, hash_prefix: str) -> None:
    """Check the SHA-256 of a file.

    Raises:
        DataError: it is another file, or damaged.
    """
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: {what} cannot be read there: {error.strerror}") from error
    if not found.startswith(hash_prefix):
        raise DataError(
            f"{path}: is not {what}, or is damaged: its SHA-256 begins with {found[: len(hash_prefix)]}, "
            f"and must begin with {hash_prefix}; remove it"
        )


def load_tensors(path: Path, what: str) -> dict[str, Tensor]:
    """Load the tensors of a `.safetensors` file or of a state dict that torch saved, and nothing else.

    Raises:
        DataError: it is neither.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = reading.load_tensors(path)
    except (OSError, SafetensorError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no state dict of tensors"
        raise DataError(f"{path}: {what} cannot be read there: {reason}") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise DataError(f"{path}: {what} cannot be read there: it is no state dict of tensors")
    return state


@contextmanager
def _download_timeout() -> Iterator[None]:
    """Set a timeout for torch's download, which has none."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
