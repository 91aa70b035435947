"""Checkpoints: the state of a run in a folder, checksummed, written atomically, loaded without running code."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from pydantic import BaseModel, NonNegativeInt, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ganzoo.components.spec import DatasetInfo
from ganzoo.errors import CheckpointError, OutputError, UnreadableCheckpointError
from ganzoo.recipe.model import CheckpointOptions
from ganzoo.runtime.memory import physical_memory
from ganzoo.runtime.restored import in_words
from ganzoo.storage.disk import check_room, library_errors, output_errors, sync, umask_mode
from ganzoo.storage.manifest import DAMAGE, MANIFEST, check_format, file_sha256, read_checksummed, write_checksummed
from ganzoo.storage.safe_load import load_tensors
from ganzoo.terminal import warn_once
from ganzoo.text import shell_word

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
    """A checkpoint folder whose `files`, all that its manifest names, match their checksums.

    Its networks are held open: the process that trains in the run may remove the checkpoint while others read it.
    """

    path: Path
    step: int
    info: DatasetInfo
    files: frozenset[str]
    _opened: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_opened": {}}  # another process opens them itself

    def file(self, name: str) -> Path:
        """Return the safetensors file of one network.

        Raises:
            CheckpointError: the checkpoint holds no such network.
        """
        file = self.path / f"{name}.safetensors"
        if file.name not in self.files:
            raise CheckpointError(f"{self.path}: holds no {name}; it has: {', '.join(self.networks())}")
        return file

    def network(self, name: str) -> dict[str, Tensor]:
        """Return the tensors of one network, on the CPU.

        Raises:
            CheckpointError: the checkpoint holds no such network, or its file cannot be read.
        """
        file = self.file(name)
        with _reading(file):
            opened: Any = self._opened.get(name) or safe_open(file, "pt")
            return {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118 (it is no mapping)

    def networks(self) -> list[str]:
        """Return the names of its networks."""
        return sorted(Path(name).stem for name in self.files if name.endswith(".safetensors"))

    @property
    def resumable(self) -> bool:
        """Whether a run can resume from it; imported weights come without the training state."""
        return STATE in self.files

    def state(self, *, mapped: bool = False) -> dict[str, Any]:
        """Return the training state: optimizers, random number generators, position; `mapped`: of tensors not yet read.

        Raises:
            CheckpointError: its file cannot be read.
        """
        with _reading(self.path / STATE):
            state: dict[str, Any] = load_tensors(self.path / STATE, mapped=mapped)
        return state


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    """Raise CheckpointError where the file cannot be read."""
    try:
        yield
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{file}: cannot be read: {error}") from error


def size_of(values: Any) -> int:
    """Return the size in bytes of all tensors in nested dictionaries and lists."""
    if isinstance(values, Tensor):
        return values.numel() * values.element_size()
    inner = values.values() if isinstance(values, Mapping) else values if isinstance(values, list | tuple) else ()
    return sum(map(size_of, inner))


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

    It gets its name once it has been opened as it will be. Without `state` it is one of weights alone, which cannot be
    resumed.

    Raises:
        OutputError: it could not be written, or what was written does not open.
    """
    final = folder / f"step_{step:07d}"
    with output_errors(final):
        for left_over in folder.glob(".step_*.partial"):  # by a process that was killed
            remove(left_over)
        partial = _unused(final.with_name(f".{final.name}.partial"))
        needed = size_of([dict(networks), state])
        check_room(final, needed, "the checkpoint", "make room there, then `ganzoo resume` the run")
        try:
            partial.mkdir()
            write_tensors(networks, partial)
            if state is not None:
                with library_errors(folder):
                    torch.save(state, partial / STATE)
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
            _check_opens(partial, step)
            aside = _set_aside(final)  # left by a run that went beyond the checkpoint it was resumed from
            partial.replace(final)
            sync(final.parent)
            remove(aside)
        finally:
            remove(partial)
    return final


def _check_opens(partial: Path, step: int) -> None:
    """Check that a checkpoint that is about to get its name can be opened.

    Raises:
        OutputError: it cannot.
    """
    try:
        checkpoint = open_checkpoint(partial, step)
        if checkpoint.resumable:
            checkpoint.state(mapped=True)
    except CheckpointError as error:
        raise OutputError(
            f"{partial.parent}: the checkpoint of step {step} was written and does not open again: {error}. "
            f"The state of a trainer, penalty or optimizer is of tensors, numbers, texts, lists and dictionaries"
        ) from error


def checkpoint_folders(folder: Path) -> list[Path]:
    """Return the folders of a run's checkpoints, oldest first; partial ones have other names.

    Raises:
        UnreadableCheckpointError: the folder is there and cannot be listed.
    """
    try:
        paths = list(folder.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _unreadable(folder, error) from error
    return sorted((path for path in paths if re.fullmatch(r"step_[0-9]+", path.name)), key=checkpoint_step)


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
        UnreadableCheckpointError: one cannot be read now: an older one in its place would undo what was trained.
    """
    damage: list[str] = []
    for path in reversed(checkpoint_folders(folder)):
        try:
            checkpoint = open_checkpoint(path)
        except CheckpointError as error:
            if not path.exists():  # removed since it was listed, by the process that trains: there are newer ones
                return latest_checkpoint(folder, warn)
            if isinstance(error, UnreadableCheckpointError):
                raise
            damage.append(str(error))
            continue
        for text in damage:
            warn(f"{text}; the checkpoint of step {checkpoint.step} is taken instead")
        return checkpoint
    if damage:
        raise CheckpointError("\n".join([f"{folder}: no checkpoint is whole", *damage]))
    raise CheckpointError(
        f"{folder}: there is no checkpoint: the run ended before the first one was saved, or they are elsewhere: "
        f"put them back, or train anew with `ganzoo run {shell_word(folder.parent / 'recipe.toml')}`"
    )


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


def open_checkpoint(path: Path, step: int | None = None) -> Checkpoint:
    """Open a checkpoint and check its files against its manifest.

    Args:
        path: its folder.
        step: of the checkpoint; default: the one in the folder's name.

    Raises:
        CheckpointError: a file is missing or damaged, or the manifest is, or is of another format or checkpoint.
        UnreadableCheckpointError: a file cannot be read now, or is of a later ganzoo.
    """
    try:
        values = read_checksummed(path / MANIFEST)
    except OSError as error:
        raise _unreadable(path / MANIFEST, error) from error
    check_format(path, values.get("format"), FORMAT)
    try:
        manifest = Manifest.model_validate(values)
    except ValidationError as error:
        wrong = error.errors(include_url=False)[0]
        where = ".".join(map(str, wrong["loc"]))
        raise CheckpointError(f"{path / MANIFEST}: is no manifest: {where}: {wrong['msg']}") from error
    if manifest.step != (checkpoint_step(path) if step is None else step):
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
        except DAMAGE as error:
            raise CheckpointError(f"{path / name}: cannot be read: {error.strerror or error}") from error
        except OSError as error:
            raise _unreadable(path / name, error) from error
        if found != expected:
            raise CheckpointError(f"{path / name}: is damaged, its content does not match its checksum")
    checkpoint = Checkpoint(path, manifest.step, manifest.info, frozenset(manifest.files))
    for name in checkpoint.networks():
        with _reading(checkpoint.file(name)):
            checkpoint._opened[name] = safe_open(checkpoint.file(name), "pt")
    return checkpoint


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
        path = folder / f"{name}.safetensors"
        with library_errors(folder.parent), umask_mode(path):
            save_file(plain, path)


def remove(folder: Path) -> None:
    """Remove a checkpoint; tell once where that cannot be done, as where others have its files open on NFS."""
    try:
        aside = _set_aside(folder)
        if aside.exists():
            shutil.rmtree(aside)
    except OSError as error:
        warn_once(
            f"{folder.parent}: old checkpoints cannot be removed ({error.strerror or error}): they take room until "
            f"you remove them"
        )


def _set_aside(folder: Path) -> Path:
    """Rename a checkpoint, if there is one, so that a kill leaves no part of it under its name; return the new path."""
    if folder.name.startswith("."):
        return folder
    aside = _unused(folder.with_name(f".{folder.name}.old.partial"))
    return folder.replace(aside) if folder.exists() else aside


def _unused(path: Path) -> Path:
    """Return this name of a partial checkpoint, or another where what is left under it could not be removed."""
    return path.with_name(f"{path.stem}.{uuid4().hex}.partial") if path.exists() else path


def _unreadable(path: Path, error: OSError) -> UnreadableCheckpointError:
    """Return the error for a file or folder that is there and cannot be read."""
    return UnreadableCheckpointError(
        f"{path}: cannot be read: {error.strerror or error}. The checkpoint may be whole: make it readable; "
        f"if it is lost, remove its folder, and the one before it is taken"
    )
