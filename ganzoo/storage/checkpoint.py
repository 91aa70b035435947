"""Checkpoints: the state of a run in a folder, checksummed, written atomically, loaded without running code."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, NonNegativeInt, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ganzoo.components.spec import DatasetInfo
from ganzoo.errors import CheckpointError
from ganzoo.recipe.model import CheckpointOptions
from ganzoo.runtime.memory import physical_memory
from ganzoo.runtime.restored import in_words
from ganzoo.storage.disk import check_room, not_written, output_errors, size_of, sync
from ganzoo.storage.manifest import MANIFEST, file_sha256, read_checksummed, write_checksummed
from ganzoo.storage.safe_load import load_tensors

FORMAT = 2
STATE = "state.pt"


class Manifest(BaseModel, extra="forbid", frozen=True):
    """Fields of a manifest without its own checksum; checksums guard against damage, not against tampering."""

    format: int
    step: NonNegativeInt
    info: DatasetInfo
    plugins: dict[str, str]
    """Versions, by distribution."""
    files: dict[str, str]
    """SHA-256 checksums, by name."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint folder whose `files`, all that its manifest names, match their checksums."""

    path: Path
    step: int
    info: DatasetInfo
    files: frozenset[str]

    def network(self, name: str) -> dict[str, Tensor]:
        """Return the tensors of one network, on the CPU.

        Raises:
            CheckpointError: the checkpoint holds no such network, or its file cannot be read.
        """
        file = self.path / f"{name}.safetensors"
        if file.name not in self.files:
            raise CheckpointError(f"{self.path}: holds no {name}; it has: {', '.join(self.networks())}")
        try:
            return load_file(file)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{file}: cannot be read: {error}") from error

    def networks(self) -> list[str]:
        """Return the names of its networks."""
        return sorted(Path(name).stem for name in self.files if name.endswith(".safetensors"))

    @property
    def resumable(self) -> bool:
        """Whether a run can resume from it; imported weights come without the training state."""
        return STATE in self.files

    def state(self) -> dict[str, Any]:
        """Return the training state: optimizers, random number generators, position.

        Raises:
            CheckpointError: its file cannot be read.
        """
        try:
            state: dict[str, Any] = load_tensors(self.path / STATE)
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{self.path / STATE}: cannot be read: {error}") from error
        return state


def write_checkpoint(
    folder: Path,
    step: int,
    networks: Mapping[str, Mapping[str, Tensor]],
    *,
    info: DatasetInfo,
    plugin_versions: Mapping[str, str],
    state: Mapping[str, Any] | None = None,
) -> Path:
    """Write one checkpoint atomically into the folder of the run's, replacing any of the same step.

    Without `state` it is one of weights alone, which cannot be resumed.

    Raises:
        OutputError: it could not be written.
    """
    final = folder / f"step_{step:07d}"
    partial = final.with_name(f".{final.name}.partial")
    with output_errors(final):
        for left_over in folder.glob(".step_*.partial"):  # by a process that was killed
            _remove(left_over)
        needed = size_of([dict(networks), state])
        check_room(final, needed, "the checkpoint", "make room there, then `ganzoo resume` the run")
        try:
            partial.mkdir()
            write_tensors(networks, partial)
            if state is not None:
                try:
                    torch.save(state, partial / STATE)
                except RuntimeError as error:  # torch's writer does not say why it failed
                    raise not_written(folder, error) from error
            files = sorted(partial.iterdir())
            manifest = {
                "format": FORMAT,
                "step": step,
                "info": info.to_dict(),
                "plugins": dict(plugin_versions),
                "files": {file.name: file_sha256(file) for file in files},
            }
            write_checksummed(partial / MANIFEST, manifest)
            for file in (*files, partial / MANIFEST, partial):
                sync(file)
            _remove(final)  # left by a run that went beyond the checkpoint it was resumed from
            partial.replace(final)
            sync(final.parent)
        finally:
            _remove(partial)
    return final


def checkpoint_folders(folder: Path) -> list[Path]:
    """Return the folders of a run's checkpoints, oldest first; partial ones have other names."""
    return sorted((path for path in folder.glob("step_*") if re.fullmatch(r"step_\d+", path.name)), key=checkpoint_step)


def checkpoint_step(folder: Path) -> int:
    """Return the step of a checkpoint from the name of its folder."""
    return int(folder.name.removeprefix("step_"))


def superseded(
    folders: Sequence[Path], step: int, options: CheckpointOptions, spared: Collection[int] = ()
) -> list[Path]:
    """Return those of `folders`, oldest first, to delete once the checkpoint of `step` is complete.

    Those of later steps are among them: the run was resumed from an earlier step and repeats those steps.
    """
    permanent = options.every * options.keep_every if options.keep_every else None
    later = [path for path in folders if checkpoint_step(path) > step]
    old = [path for path in folders if checkpoint_step(path) <= step][: -options.keep]
    return later + [
        p for p in old if checkpoint_step(p) not in spared and (permanent is None or checkpoint_step(p) % permanent)
    ]


def latest_checkpoint(folder: Path, warn: Callable[[str], None]) -> Checkpoint:
    """Return the newest intact checkpoint of a run; call `warn` with the damage of each newer one.

    Raises:
        CheckpointError: there is none, or each is damaged.
    """
    damage: list[str] = []
    for path in reversed(checkpoint_folders(folder)):
        try:
            checkpoint = open_checkpoint(path)
        except CheckpointError as error:
            damage.append(str(error))
            continue
        for text in damage:
            warn(f"{text}; the checkpoint of step {checkpoint.step} is taken instead")
        return checkpoint
    if damage:
        raise CheckpointError("\n".join([f"{folder}: no checkpoint is whole", *damage]))
    raise CheckpointError(f"{folder}: there is no checkpoint; the run ended before the first one was saved")


def checkpoint_of(folder: Path, step: int) -> Checkpoint:
    """Return the checkpoint of this step of a run.

    Raises:
        CheckpointError: there is none, or it is damaged.
    """
    paths = {checkpoint_step(path): path for path in checkpoint_folders(folder)}
    if step not in paths:
        there = ", ".join(map(str, paths)) or "none"
        raise CheckpointError(f"{folder}: there is no checkpoint of step {step}; there are those of {there}")
    return open_checkpoint(paths[step])


def open_checkpoint(path: Path) -> Checkpoint:
    """Open a checkpoint and check its files against its manifest.

    Raises:
        CheckpointError: a file is missing or damaged, or the manifest is, or is of another format or checkpoint.
    """
    values = read_checksummed(path / MANIFEST)
    if values.get("format") != FORMAT:
        raise CheckpointError(f"{path}: has format {values.get('format')}; this ganzoo reads format {FORMAT}")
    try:
        manifest = Manifest.model_validate(values)
    except ValidationError as error:
        wrong = error.errors(include_url=False)[0]
        where = ".".join(map(str, wrong["loc"]))
        raise CheckpointError(f"{path / MANIFEST}: is no manifest: {where}: {wrong['msg']}") from error
    if manifest.step != checkpoint_step(path):
        raise CheckpointError(f"{path / MANIFEST}: is of step {manifest.step}, which is another checkpoint's")
    for name, expected in manifest.files.items():
        if Path(name).name != name:
            raise CheckpointError(
                f"{path / MANIFEST}: is no manifest: files: {name!r} is no name of a file in its folder"
            )
        try:
            found = file_sha256(path / name, physical_memory())
        except FileNotFoundError:
            raise CheckpointError(f"{path / name}: is missing") from None
        except OSError as error:
            raise CheckpointError(f"{path / name}: cannot be read: {error.strerror or error}") from error
        if found != expected:
            raise CheckpointError(f"{path / name}: is damaged, its content does not match its checksum")
    return Checkpoint(path, manifest.step, manifest.info, frozenset(manifest.files))


def load_network(network: nn.Module, checkpoint: Checkpoint, name: str) -> None:
    """Load the weights of the network `name` into `network`.

    Raises:
        CheckpointError: they do not fit; the text says which.
    """
    tensors = checkpoint.network(name)
    for key, own in network.state_dict().items():
        if key in tensors and tensors[key].dtype != own.dtype:
            reason = f"{key} is {in_words(tensors[key])}, and must be {in_words(own)}"
            raise CheckpointError(f"{checkpoint.path}: {name} does not fit the recipe: {reason}")
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        _, first, *others = [*map(str.strip, str(error).splitlines()), ""]
        reason = first.rstrip(".") + (f", and {len(others) - 1} more" if len(others) > 1 else "")
        raise CheckpointError(f"{checkpoint.path}: {name} does not fit the recipe: {reason}") from error


def write_tensors(networks: Mapping[str, Mapping[str, Tensor]], folder: Path) -> None:
    """Write the tensors of each network to `<its name>.safetensors`.

    Raises:
        OutputError: they could not be written.
    """
    for name, tensors in networks.items():
        plain = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
        memory = [value.untyped_storage().data_ptr() for value in plain.values()]
        if len(set(memory)) < len(memory):  # weights that two layers share, which safetensors does not write
            plain = {key: value.clone() for key, value in plain.items()}
        try:
            save_file(plain, folder / f"{name}.safetensors")
        except SafetensorError as error:  # it wraps the system's error in text
            raise not_written(folder.parent, error) from error


def _remove(folder: Path) -> None:
    """Remove a folder after renaming it, so that a kill leaves no partial checkpoint under its name."""
    if folder.exists():
        aside = folder if folder.name.startswith(".") else folder.with_name(f".{folder.name}.old.partial")
        folder.replace(aside)
        shutil.rmtree(aside)
