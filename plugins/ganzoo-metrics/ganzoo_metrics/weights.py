"""Weights of trained networks: downloaded, checked, and loaded without running code from them."""

from __future__ import annotations

import difflib
import hashlib
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import models

from ganzoo import plugin
from ganzoo.plugin import DataError

SECONDS = 15.0
"""Timeout of a download's connection in seconds."""
RANDOM = "random"


def torchvision_classifier(model: str, seed: int, where: str) -> nn.Module:
    """Build a classifier of torchvision's with random weights of a seed.

    Args:
        model: as torchvision names it.
        seed: of the weights; the process's random numbers are left alone.
        where: the component that asks for it, in messages.

    Raises:
        DataError: there is no such model.
    """
    names = models.list_models(module=models)
    if model not in names:
        close = "".join(f", did you mean {each}?" for each in difflib.get_close_matches(model, names, 1))
        raise DataError(f'{where}: torchvision has no classifier "{model}"{close}')
    silent: dict[str, Any] = {"init_weights": True} if model in ("googlenet", "inception_v3") else {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network: nn.Module = models.get_model(model, weights=None, **silent)
    return network


def load_torchvision_weights(network: nn.Module, model: str, weights: str, where: str, option: str) -> None:
    """Load weights into what `torchvision_classifier` built, downloading them on first use.

    Args:
        network: of this model.
        model: as torchvision names it.
        weights: name of torchvision's weights; or a file, `.pth` or `.safetensors`; or "random", which loads none.
        where: the component that asks for it, in messages.
        option: the key of a recipe that names a file to use instead.

    Raises:
        DataError: they are missing, or are another network's.
    """
    if weights == RANDOM:
        return
    what, known = f"the weights of {model}", models.get_model_weights(model)
    if weights in known.__members__:
        url = known[weights].url
        prefix = url.rpartition("-")[2].partition(".")[0]
        tensors = load_tensors(downloaded(url, what, option, prefix), what)
    else:
        path = expand_user(weights)
        if not path.is_file():
            raise DataError(
                f'{where}: weights = "{weights}" is neither a file nor a name of '
                f"{what}: {', '.join(known.__members__)}, {RANDOM}"
            )
        tensors = load_tensors(path, what)
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise DataError(f"{weights}: are not weights of {model}: {line_of(error, 1)}") from error


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
    if path.parts[0].startswith("~"):
        raise DataError(f"{path}: there is no such home folder: set TORCH_HOME to a folder for {what}, or {option}")
    if not path.is_file():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with _download_timeout():
                torch.hub.download_url_to_file(url, str(path), hash_prefix)
        except (OSError, RuntimeError, ValueError) as error:
            raise DataError(
                f"{what} cannot be downloaded ({line_of(error)}): fetch {url} where there is a network, "
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
        with plugin.open_file(path) as file:
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
        tensors = plugin.load_tensors(path)
    except ValueError as error:
        raise DataError(f"{path}: {what} cannot be read there: it is no state dict of tensors") from error
    if not isinstance(tensors, dict) or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise DataError(f"{path}: {what} cannot be read there: it is no state dict of tensors")
    return tensors


def expand_user(path: str) -> Path:
    """Expand "~", unless nobody of that name has a home."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 (pathlib's raises where nobody has)


def line_of(error: Exception, number: int = 0) -> str:
    """Return a line of an error's text, its last where it has fewer, or its type where it has none."""
    lines = str(error).strip().splitlines()
    return lines[min(number, len(lines) - 1)].strip() if lines else type(error).__name__


@contextmanager
def _download_timeout() -> Iterator[None]:
    """Set a timeout for torch's download, which has none."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
