"""Manifest of a checkpoint: its step, images and files with their checksums, and a checksum of its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, NonNegativeInt, ValidationError

from ganzoo.components.spec import DatasetInfo
from ganzoo.errors import CheckpointError
from ganzoo.storage.disk import sync
from ganzoo.storage.retention import checkpoint_step
from ganzoo.text import parse_json

FORMAT = 1
MANIFEST = "manifest.json"
CHECKSUM = "manifest_sha256"
LARGEST = 4 * 2**20
"""Largest manifest in bytes that is read; ganzoo writes a few thousand."""


class Manifest(BaseModel, extra="forbid", frozen=True):
    """Fields of a manifest without its own checksum; checksums guard against damage, not against tampering."""

    format: int
    step: NonNegativeInt
    info: DatasetInfo
    plugins: dict[str, str]
    """Versions, by distribution."""
    files: dict[str, str]
    """SHA-256 checksums, by name."""


def write_manifest(folder: Path, step: int, info: DatasetInfo, plugin_versions: Mapping[str, str]) -> None:
    """Write the manifest of the files in `folder`, with their checksums, and flush all of it to the disk."""
    files = sorted(folder.iterdir())
    manifest = {
        "format": FORMAT,
        "step": step,
        "info": info.to_dict(),
        "plugins": dict(plugin_versions),
        "files": {file.name: file_sha256(file) for file in files},
    }
    write_checksummed(folder / MANIFEST, manifest)
    for file in (*files, folder / MANIFEST, folder):
        sync(file)


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of the checkpoint in `folder` and check its files.

    Raises:
        CheckpointError: a file is missing or damaged, or the manifest is, or is of another format or checkpoint.
    """
    values = read_checksummed(folder / MANIFEST)
    if values.get("format") != FORMAT:
        raise CheckpointError(f"{folder}: has format {values.get('format')}; this ganzoo reads format {FORMAT}")
    manifest = _checked(values, folder)
    for name, expected in manifest.files.items():
        if not (folder / name).is_file():
            raise CheckpointError(f"{folder / name}: is missing")
        if file_sha256(folder / name) != expected:
            raise CheckpointError(f"{folder / name}: is damaged, its content does not match its checksum")
    return manifest


def _checked(values: Mapping[str, Any], folder: Path) -> Manifest:
    """Validate a manifest: it must be of the checkpoint in `folder` and name no file elsewhere."""
    path = folder / MANIFEST
    try:
        manifest = Manifest.model_validate(values)
    except ValidationError as error:
        wrong = error.errors(include_url=False)[0]
        raise CheckpointError(f"{path}: is no manifest: {'.'.join(map(str, wrong['loc']))}: {wrong['msg']}") from error
    elsewhere = [name for name in manifest.files if Path(name).name != name]
    if elsewhere:
        raise CheckpointError(f"{path}: is no manifest: files: {elsewhere[0]!r} is no name of a file in its folder")
    if manifest.step != checkpoint_step(folder):
        raise CheckpointError(f"{path}: is of step {manifest.step}, which is another checkpoint's")
    return manifest


def file_sha256(path: Path) -> str:
    """Return the SHA-256 checksum of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_checksummed(path: Path, values: Mapping[str, Any]) -> None:
    """Write a manifest with its own checksum in it."""
    content = {**values, CHECKSUM: _digest_of(values)}
    path.write_text(json.dumps(content, indent=2), encoding="utf-8")


def read_checksummed(path: Path) -> dict[str, Any]:
    """Read a manifest that matches its own checksum.

    Raises:
        CheckpointError: it does not, or cannot be read.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise CheckpointError(f"{path}: is larger than any manifest: it is damaged or was made to be")
        text = path.read_text(encoding="utf-8")
        values = parse_json(text)
        exact = text == json.dumps(values, indent=2)  # else a changed blank would pass
        recorded = values.pop(CHECKSUM)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path}: cannot be read: {error}") from error
    if not exact or recorded != _digest_of(values):
        raise CheckpointError(f"{path}: is damaged or was changed, its content does not match its checksum")
    return dict(values)


def _digest_of(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
