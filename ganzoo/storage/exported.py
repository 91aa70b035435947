"""The folders of `ganzoo export`: sealed with checksums, and opened without running code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, NonNegativeInt, ValidationError

from ganzoo.components.spec import DatasetInfo
from ganzoo.errors import CheckpointError
from ganzoo.runtime.memory import physical_memory
from ganzoo.storage.checkpoint import Checkpoint
from ganzoo.storage.manifest import EXPORT, check_format, file_sha256, read_checksummed, write_checksummed
from ganzoo.storage.run_directory import PLUGINS
from ganzoo.untrusted import check_contents

FORMAT = 1
RECIPE = "recipe.toml"


class ExportManifest(BaseModel, frozen=True):
    """Entries of a manifest that are used to open its folder."""

    step: NonNegativeInt
    info: DatasetInfo
    files: dict[str, str]
    networks: dict[str, str]


@dataclass(frozen=True)
class ExportedWeights(Checkpoint):
    """The weights of an export whose checksums have been verified."""

    file_of: Mapping[str, str] = field(default_factory=dict)
    """File name of each network."""

    def file(self, name: str) -> Path:
        """Return the file of one network; raises as `Checkpoint.file` does."""
        return super().file(Path(self.file_of.get(name, name)).stem)

    def networks(self) -> list[str]:
        """Return the names of the networks in it."""
        return sorted(self.file_of)


def seal_export(folder: Path, weights: Checkpoint, networks: Mapping[str, str], about: Mapping[str, Any]) -> None:
    """Write the manifest `export.json` of an export, after all of its other files.

    README and pictures are left out of the manifest, since people edit a model card.

    Args:
        folder: of the export.
        weights: what was exported.
        networks: the file of each network.
        about: further entries of the manifest.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".md", ".png"))
    manifest: dict[str, Any] = {
        "export": FORMAT,
        "step": weights.step,
        "info": weights.info.to_dict(),
        "networks": dict(networks),
        **about,
        "files": {path.relative_to(folder).as_posix(): file_sha256(path) for path in files},
    }
    write_checksummed(folder / EXPORT, manifest)


def open_export(folder: Path) -> ExportedWeights:
    """Verify an export against its manifest and return its weights.

    Raises:
        RunDirectoryError: a link in it leads out of it, or it holds something else than files.
        CheckpointError: a file is missing, changed, or of another format, or the manifest names what it must not.
    """
    path = folder / EXPORT
    try:
        values = read_checksummed(path)
    except CheckpointError as error:
        raise CheckpointError(f"{error}; fetch it again") from error
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot be read: {error.strerror or error}; make it readable, or fetch it again"
        ) from error
    check_format(path, values.get("export"), FORMAT)
    try:
        manifest = ExportManifest.model_validate(values)
    except ValidationError as error:
        raise CheckpointError(f"{path}: is not what `ganzoo export` writes") from error
    files, networks = manifest.files, manifest.networks
    for name in files:
        _check_name(folder, name)
    check_contents(folder, allowed=is_hub_blob)  # what the manifest does not name is read, or written, too
    wrong = [name for name in networks if not name.isidentifier()]
    wrong += [file for file in networks.values() if file not in files or not file.endswith(".safetensors")]
    if wrong:
        raise CheckpointError(f"{path}: names weights that cannot be: {', '.join(map(repr, wrong))}")
    if RECIPE not in files:
        raise CheckpointError(f"{path}: does not list {RECIPE}")
    for name, expected in files.items():
        try:
            found = file_sha256(folder / name, physical_memory())
        except OSError as error:
            raise CheckpointError(
                f"{folder / name}: cannot be read: {error.strerror or error}; fetch it again"
            ) from error
        if found != expected:
            raise CheckpointError(
                f"{folder / name}: is damaged or was changed, its content does not match its checksum: fetch it again"
            )
    if not networks:
        raise CheckpointError(f"{folder}: is an ONNX export, for onnxruntime; its README.md says how to open it")
    return ExportedWeights(folder, manifest.step, manifest.info, frozenset(files), networks)


def _check_name(folder: Path, name: str) -> None:
    """Check that a file lies in the folder itself or among its plugin files, and is not a link elsewhere.

    Raises:
        CheckpointError: it does not, or is.
    """
    plain = name.removeprefix(f"{PLUGINS}/")
    if not plain or plain != Path(plain).name or "\\" in name or "\0" in name or plain in (".", ".."):
        raise CheckpointError(f"{folder / EXPORT}: names a file that may not be: {name!r}")
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()) and not is_hub_blob(path):
        raise CheckpointError(f"{path}: is a link to somewhere else")
    if not path.is_file():
        raise CheckpointError(f"{path}: is missing; fetch it again")


def is_hub_blob(path: Path) -> bool:
    """Return whether a link is the Hub cache's own, of `snapshots/<commit>/file` to `blobs/<checksum>`."""
    snapshots = next((parent for parent in path.parents if parent.name == "snapshots"), None)
    return snapshots is not None and path.resolve().parent == (snapshots.parent / "blobs").resolve()
