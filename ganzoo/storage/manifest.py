"""Manifests: JSON files that list the checksums of others and carry one of their own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ganzoo.errors import CheckpointError, OutputError, UnreadableCheckpointError
from ganzoo.text import parse_json
from ganzoo.untrusted import UnfitFileError, open_file, read_text

MANIFEST, EXPORT = "manifest.json", "export.json"
CHECKSUM = "manifest_sha256"
LARGEST = 16 * 2**20
"""Largest manifest in bytes that is written and read; without many names of classes it has a few thousand."""
DAMAGE = (FileNotFoundError, IsADirectoryError, NotADirectoryError, UnfitFileError)
"""Errors of the system that tell of something else than a file; any other may pass, as that of a lost connection."""


def file_sha256(path: Path, largest: int | None = None) -> str:
    """Return the SHA-256 checksum of a file; raises as `open_file` does."""
    with open_file(path, largest) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_export(folder: Path) -> bool:
    """Return whether `ganzoo export` made this folder."""
    return (folder / EXPORT).is_file()


def write_checksummed(path: Path, values: Mapping[str, Any]) -> None:
    """Write a manifest with its own checksum in it.

    Raises:
        OutputError: it is larger than what is read.
    """
    text = json.dumps({**values, CHECKSUM: _digest_of(values)}, indent=2)
    if len(text) > LARGEST:
        raise OutputError(f"{path}: would have {len(text)} bytes, and {LARGEST} are read: shorten the names in it")
    path.write_text(text, encoding="utf-8")


def read_checksummed(path: Path) -> dict[str, Any]:
    """Read a manifest that matches its own checksum.

    Raises:
        CheckpointError: it does not.
        OSError: the system does not give its content now.
    """
    try:
        text = read_text(path, LARGEST)
        values = parse_json(text)
        exact = text == json.dumps(values, indent=2)  # else a changed blank would pass
        recorded = values.pop(CHECKSUM)
    except (*DAMAGE, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path}: cannot be read: {error}") from error
    if not exact or recorded != _digest_of(values):
        raise CheckpointError(f"{path}: is damaged or was changed, its content does not match its checksum")
    return dict(values)


def check_format(path: Path, found: object, expected: int) -> None:
    """Check the format of a checkpoint or an export in `path`.

    Raises:
        CheckpointError: it is of another.
        UnreadableCheckpointError: it is of a later ganzoo.
    """
    if found != expected:
        later = isinstance(found, int) and found > expected
        raise (UnreadableCheckpointError if later else CheckpointError)(
            f"{path}: has format {found}; this ganzoo reads format {expected}"
            + (": upgrade ganzoo-core" if later else "")
        )


def _digest_of(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
