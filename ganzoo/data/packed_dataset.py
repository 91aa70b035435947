"""Packed datasets: decoded once into memory maps and kept in the cache."""

from __future__ import annotations

import hashlib
import inspect
import json
import math
import os
import re
import shutil
import zlib
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import numpy.typing as npt
import torch
from filelock import FileLock, Timeout
from pydantic import TypeAdapter
from torch import Tensor

from ganzoo.components.dataset import Batch, Dataset, StoredImages
from ganzoo.components.options import TrainerConfig
from ganzoo.components.spec import DatasetInfo
from ganzoo.data.decode import NpyWriter, decode_samples, npy_header
from ganzoo.data.findings import blame, name_and_class, name_of
from ganzoo.data.samples import SampleReader, reporting_source_errors
from ganzoo.data.transforms import allowed_pixels
from ganzoo.errors import DataError, RequestError
from ganzoo.runtime.random_state import kept_random_state
from ganzoo.storage.disk import check_room, expand_user, sync
from ganzoo.storage.manifest import file_sha256
from ganzoo.text import parse_json
from ganzoo.untrusted import open_file, read_text

FORMAT = 6
"""Raised whenever the layout of a pack, or the pixels that the same options give, change."""

_COMMON_OPTIONS_WITHOUT_EFFECT = {"name", "root", "horizontal_flip", "max_bad_fraction", "placement"}
_NAMES_IN_AN_ERROR = 20
_IMAGES_AT_ONCE = 1024
_GOLDEN_RATIO = (5**0.5 - 1) / 2
_HEADROOM = 16 * 1024 * 1024


@dataclass(frozen=True, eq=False)
class PackedDataset:
    """A dataset's samples, decoded, cropped and resized.

    Attributes:
        images: images (N, H, W, C) uint8, uint16 or float32, or vectors (N, D) float32, read-only and
            memory-mapped, so that opening costs nothing and `permute(0, 3, 1, 2)` is channels_last.
        labels: class indices (N,) int64, attributes or values (N, K) float32; None for data without labels.
        info: shape of the samples, and what the labels are.
        skipped: samples that could not be read and were left out, each with the reason.
        bad_share: the share of these; of unpaired samples and conditions the larger one.
        path: the pack's folder.
        key: hash of everything that the samples depend on.
        checksum: CRC-32 of `images`, as they were when the pack was made.
        conditions: stored like `images`; None without conditions.
        paired: whether condition i belongs to sample i; else they are drawn independently, and may be more or fewer.
        conditions_checksum: CRC-32 of `conditions`.
        findings: what should be told of the dataset, a sentence each.
    """

    images: npt.NDArray[Any]
    labels: npt.NDArray[Any] | None
    info: DatasetInfo
    skipped: tuple[str, ...]
    path: Path
    key: str
    checksum: int = 0
    conditions: npt.NDArray[Any] | None = None
    paired: bool = True
    conditions_checksum: int = 0
    findings: tuple[str, ...] = ()
    bad_share: float = 0.0

    def __len__(self) -> int:
        return len(self.images)

    @property
    def nbytes(self) -> int:
        """Size of all samples and conditions in bytes."""
        return int(self.images.nbytes) + (0 if self.conditions is None else int(self.conditions.nbytes))

    def checksums(self) -> dict[str, int | str]:
        """Return what tells these samples from others: their number, and the CRC-32 of all that is stored of them."""
        found: dict[str, int | str] = {"samples": len(self), "checksum": f"crc32:{self.checksum:08x}"}
        if self.conditions is not None:
            found["conditions"] = f"crc32:{self.conditions_checksum:08x}"
        if self.labels is not None:
            found["labels"] = f"crc32:{_crc32(self.labels):08x}"
        return found

    def is_intact(self) -> bool:
        """Return whether the samples still match their checksum; reads them all."""
        return _crc32(self.images) == self.checksum and (
            self.conditions is None or _crc32(self.conditions) == self.conditions_checksum
        )

    def example_labels(self, count: int) -> Tensor | None:
        """Return `count` labels to generate samples for: each class in turn, else those of samples all over the set."""
        if self.info.labels is None or self.labels is None:
            return None
        if self.info.labels.kind == "classes":
            return torch.arange(count) % self.info.num_classes
        places = np.arange(count) * _GOLDEN_RATIO % 1 * len(self)  # evenly spread, and the first the same for any count
        return torch.from_numpy(self.labels[places.astype(int)])


def _crc32(array: npt.NDArray[Any]) -> int:
    checksum = 0
    for start in range(0, len(array), _IMAGES_AT_ONCE):
        checksum = zlib.crc32(array[start : start + _IMAGES_AT_ONCE].data, checksum)
    return checksum


def cache_folder() -> Path:
    """Return the cache folder: `$GANZOO_CACHE`, else `~/.cache/ganzoo`.

    Raises:
        DataError: the user has no home folder, as an unknown one in a container, and names no other.
    """
    folder = expand_user(os.environ.get("GANZOO_CACHE") or "~/.cache/ganzoo")
    if folder.parts[0].startswith("~"):
        raise DataError(f"{folder}: there is no such home folder: set GANZOO_CACHE to a folder for packed datasets")
    return folder


@kept_random_state()  # a dataset may draw which images it gives
def pack_dataset(
    dataset: Dataset,
    *,
    cache: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    check: bool = False,
) -> PackedDataset:
    """Open the pack of a dataset, after making it where there is none yet.

    The pack is filed under a hash of the file of the dataset's class, its fingerprint and its options, without
    those that do not affect the pixels: the common ones of that kind, and any option declared with
    `json_schema_extra={"affects_pixels": False}`. It is written under a temporary name and renamed when
    complete; of several processes that want the same pack, one makes it and the others wait.

    Args:
        dataset: the dataset to pack.
        cache: the folder to keep packs in, under `packs/`; default: `cache_folder()`.
        progress: called with the number of images done and in all while a pack is made.
        check: read all pixels of an existing pack, and remake it if they have changed, or if it leaves out samples
            that may be readable by now; the shape of the files and the labels are checked in any case.

    Raises:
        DataError: the data is missing, empty or unreadable, or there is no room for the pack.
    """
    name = name_of(dataset)
    packed_datasets = (cache or cache_folder()) / "packs"
    try:
        packed_datasets.mkdir(parents=True, exist_ok=True)
        with allowed_pixels(dataset.config):
            # Two locks, since the name of the pack depends on what `prepare` finds or downloads.
            with _prepare_lock(packed_datasets, name, dataset), reporting_source_errors(dataset):
                dataset.prepare()
            with reporting_source_errors(dataset):
                made_from = _made_from(dataset)
            key = _digest(made_from)
            path = packed_datasets / f"{_file_name(name)}-{_digest([key, code_of(dataset, Dataset)])[:16]}"
            packed = _ready(path, key, dataset, check)
            if packed is None:
                with FileLock(packed_datasets / f"{path.name}.lock"):
                    packed = _ready(path, key, dataset, check) or _make(dataset, path, key, made_from, progress)
    except OSError as error:
        raise DataError(
            f'the pack of the dataset "{name}" cannot be written to {packed_datasets}: {error.strerror or error}. '
            f"Set GANZOO_CACHE to keep packs elsewhere"
        ) from error
    return replace(packed, findings=(*dataset.notes(), *packed.findings))


def _prepare_lock(packed_datasets: Path, name: str, dataset: Dataset) -> AbstractContextManager[object]:
    """Return a lock on finding or downloading a dataset; none in a read-only cache, whose packs must be ready."""
    root = expand_user(dataset.config.root).absolute()
    lock = packed_datasets / f"{_file_name(name)}-{_digest(str(root))[:8]}.prepare.lock"
    if not os.access(lock if lock.exists() else packed_datasets, os.W_OK):  # the folder's, or another user's lock
        return nullcontext()
    return FileLock(lock)


def _ready(path: Path, key: str, dataset: Dataset, check: bool) -> PackedDataset | None:
    """Return the pack at `path` if it is usable; one that skips too many images is not, as they may be repaired now."""
    packed = _open(path, key)
    if packed is None or packed.bad_share > dataset.config.max_bad_fraction:
        return None
    return packed if not check or (not packed.skipped and packed.is_intact()) else None


def _make(
    dataset: Dataset, path: Path, key: str, made_from: dict[str, Any], progress: Callable[[int, int], None] | None
) -> PackedDataset:
    """Decode a dataset into `path`. The caller holds the lock, so partial files may be deleted."""
    _clear_left_overs(path)
    name, samples = name_of(dataset), SampleReader(dataset)
    info = samples.info
    readers = {("images", "conditions")[: len(samples.specs)]: samples}
    if info.condition is not None and not samples.paired:
        readers["conditions",] = SampleReader(dataset, conditions=True)
    if not all(map(len, readers.values())):
        raise DataError(f'the dataset "{name}" has no {info.noun} (dataset.root is {dataset.config.root})')
    check_room(
        path.parent,
        sum(reader.nbytes for reader in readers.values()) + _HEADROOM,
        f'the pack of the dataset "{name}" ({len(samples)} {info.noun} of {info.samples})',
        "make room there, or set GANZOO_CACHE to a folder on a larger disk",
        DataError,
    )
    folder = path.with_name(f".{path.name}.{uuid4().hex}")
    folder.mkdir()  # with the permissions that the umask leaves, for others who share the cache
    try:
        arrays: dict[str, dict[str, Any]] = {}
        labels: list[Any] = []
        skipped: list[str] = []
        told: list[str] = []
        bad_share = 0.0
        for names, reader in readers.items():
            with ExitStack() as stack:
                files = [
                    stack.enter_context(NpyWriter(folder / f"{each}.npy", spec.stored_shape, len(reader)))
                    for each, spec in zip(names, reader.specs, strict=True)
                ]
                found, bad = decode_samples(reader, files, progress)
            _check_bad_samples(bad, reader, info.noun)
            bad_share = max(bad_share, len(bad) / len(reader))
            told += reader.findings()
            labels, skipped = labels or found, skipped + bad
            arrays |= {each: file.facts() for each, file in zip(names, files, strict=True)}
        if info.labels is not None:
            values = np.asarray(labels, dtype=np.int64 if info.labels.kind == "classes" else np.float32)
            with NpyWriter(folder / "labels.npy", values.shape[1:], len(values)) as file:
                for value in values:
                    file.write(value)
            arrays["labels"] = file.facts()
        contents = {
            "format": FORMAT,
            "key": key,
            "info": info.to_dict(),
            "arrays": arrays,
            "paired": samples.paired,
            "skipped": skipped,
            "bad_share": bad_share,
            "findings": told,
            "made_from": made_from,
        }
        (folder / "pack.json").write_text(json.dumps(contents, indent=1), encoding="utf-8")
        sync(folder / "pack.json")
        if path.exists():
            shutil.rmtree(path)
        folder.rename(path)
        sync(path.parent)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    packed = _open(path, key)
    if packed is None:
        raise DataError(f"the pack {path} changed while it was made: is another program writing there?")
    return packed


def _clear_left_overs(path: Path) -> None:
    """Remove partial files of killed processes: of this pack, and of any that is not locked."""
    for folder in path.parent.glob(".*.*"):
        name = folder.name[1:].rpartition(".")[0]
        with (
            suppress(Timeout, OSError),
            nullcontext() if name == path.name else FileLock(path.with_name(f"{name}.lock"), timeout=0),
        ):
            shutil.rmtree(folder)


def _open(path: Path, key: str) -> PackedDataset | None:
    """Return the pack at `path`, or None if it is missing, damaged or has another key."""
    try:
        contents = parse_json(read_text(path / "pack.json"))
        if contents["format"] != FORMAT or contents["key"] != key:
            return None
        info, arrays = TypeAdapter(DatasetInfo).validate_python(contents["info"]), contents["arrays"]
        images = _map(path / "images.npy", arrays["images"], info.samples.stored_shape)
        conditions = None
        if info.condition is not None:
            conditions = _map(path / "conditions.npy", arrays["conditions"], info.condition.stored_shape)
        labels = None
        if info.labels is not None:
            shape = () if info.labels.kind == "classes" else (len(info.labels.names),)
            labels = np.array(_map(path / "labels.npy", arrays["labels"], shape))
            if len(labels) != len(images) or _crc32(labels) != arrays["labels"]["checksum"]:
                return None
        return PackedDataset(
            images=images,
            labels=labels,
            info=info,
            skipped=tuple(contents["skipped"]),
            path=path,
            key=key,
            checksum=arrays["images"]["checksum"],
            conditions=conditions,
            paired=contents["paired"],
            conditions_checksum=0 if conditions is None else arrays["conditions"]["checksum"],
            findings=tuple(contents["findings"]),
            bad_share=float(contents["bad_share"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _map(path: Path, facts: dict[str, Any], shape_of_each: tuple[int, ...]) -> npt.NDArray[Any]:
    """Map the array in a `.npy` file.

    Raises:
        ValueError: its header or its length are not those of such an array.
    """
    shape, dtype = tuple(facts["shape"]), np.dtype(facts["dtype"])
    if dtype.hasobject:  # NumPy would take what is in the file for addresses
        raise ValueError(f"{path}: does not hold numbers")
    header = npy_header(shape, dtype)
    with open_file(path) as file:
        length = len(header) + math.prod(shape) * dtype.itemsize
        if shape[1:] != shape_of_each or file.read(len(header)) != header or file.seek(0, os.SEEK_END) != length:
            raise ValueError(f"{path}: does not hold what was written")
        return np.memmap(file, dtype=dtype, mode="r", offset=len(header), shape=shape)


def _made_from(dataset: Dataset) -> dict[str, Any]:
    config = dataset.config
    without_effect = _COMMON_OPTIONS_WITHOUT_EFFECT | {
        option
        for option, field in type(config).model_fields.items()
        if isinstance(field.json_schema_extra, dict) and field.json_schema_extra.get("affects_pixels") is False
    }
    fingerprint: object = dataset.fingerprint()
    if not isinstance(fingerprint, Iterable):
        given = f"fingerprint gives a {type(fingerprint).__name__}"
        raise DataError(f"{name_and_class(dataset)}: {given}, and must give a list of what its samples depend on")
    return {
        "format": FORMAT,
        "name": name_of(dataset),
        "class": type(dataset).__qualname__,  # a plugin file's module has another name at each import in one process
        "options": config.model_dump(mode="json", exclude=without_effect),
        "fingerprint": _digest(list(fingerprint)),
    }


def code_of(component: object, base: type) -> str:
    """Return the hash of the files that the class of a component, and its bases that `base` lacks, are written in.

    A class of a notebook is in no file, and its changes go unnoticed.
    """
    found = []
    for each in type(component).__mro__:
        if each not in base.__mro__:
            with suppress(OSError, TypeError):
                found.append(file_sha256(Path(inspect.getfile(each))))
    return _digest(found)


def _check_bad_samples(bad: list[str], reader: SampleReader, noun: str) -> None:
    """Raise DataError if more samples are bad than the options allow, or none is left."""
    dataset, share, more = reader.dataset, len(bad) / len(reader), len(bad) - _NAMES_IN_AN_ERROR
    allowed = dataset.config.max_bad_fraction
    if share <= allowed:
        return
    allowing = f" ({allowed:g} are allowed)" if allowed else ""
    cure = "Repair or remove them, or leave them out: set dataset.max_bad_fraction above their share."
    if reader.surveys[0].contract == len(bad):
        cure = f"No dataset may give these: {blame(dataset)}."
    lines = [
        f'{len(bad)} of {len(reader)} {noun} of the dataset "{name_of(dataset)}" cannot be used, '
        f"a share of {share:.2g}{allowing}:",
        *(f"  {text}" for text in bad[:_NAMES_IN_AN_ERROR]),
        *([f"  … and {more} more; `ganzoo data doctor` lists all"] if more > 0 else []),
        cure,
    ]
    raise DataError("\n".join(lines))


def _digest(value: object) -> str:
    def plain(each: Any) -> Any:
        if not hasattr(each, "dtype"):
            return str(each)
        content = np.asarray(each).tobytes()  # an array's text leaves out its middle and digits
        return [str(each.dtype), list(each.shape), hashlib.sha256(content).hexdigest()]

    text = json.dumps(value, sort_keys=True, default=plain)
    return hashlib.sha256(text.encode()).hexdigest()


def _file_name(name: str) -> str:
    return re.sub(r"[^\w.-]", "_", name)


def seen_by(role: str, packed: PackedDataset, trainer: TrainerConfig) -> PackedDataset:
    """Return a dataset as a network of the trainer sees it, with other samples and conditions where it has others.

    Raises:
        RequestError: the samples or conditions that the network sees are computed, and are not in the dataset.
    """
    first = example_batch(packed, torch.arange(1))
    seen = trainer.batch_for(role, first)
    if seen is first:
        return packed
    info, key = trainer.info_for(role, packed.info), f"{packed.key}-{role}"
    if seen.real.shape[1:] != info.samples.shape:
        raise RequestError(f'the dataset has no real samples for the network "{role}", which are {info.samples}')
    given = ((first.real, packed.images), (first.labels, packed.labels), (first.condition, packed.conditions))
    stored = []
    for wanted in (seen.real, seen.labels, seen.condition):
        found = [each for tensor, each in given if tensor is wanted]
        if not found and wanted is not None:
            raise RequestError(f'the trainer computes what the network "{role}" sees: the dataset does not hold it')
        stored.append(found[0] if found else None)
    images, labels, conditions = stored
    assert images is not None, "a batch has samples"
    return replace(packed, images=images, labels=labels, conditions=conditions, info=info, key=key)


def example_batch(packed: PackedDataset, indices: Tensor) -> Batch:
    """Return the samples at these indices (N,) with labels and conditions, on the CPU; it begins again at its end."""
    own = (indices % len(packed)).numpy()
    labels = None if packed.labels is None else torch.from_numpy(packed.labels[own])
    conditions = packed.conditions
    condition = None if conditions is None else as_floats(conditions[(indices % len(conditions)).numpy()])
    return Batch(as_floats(packed.images[own]), labels, condition)


def real_images(packed: StoredImages, indices: Tensor) -> Tensor:
    """Return the samples at these indices (N,) of a pack, on the CPU: images (N, C, H, W) in [−1, 1], or vectors."""
    return as_floats(packed.images[indices.numpy()])


def as_floats(stored: npt.NDArray[Any]) -> Tensor:
    """Return stored samples as they are trained on: images (N, C, H, W) in [−1, 1], or vectors."""
    if stored.ndim == 2:
        return torch.from_numpy(stored)
    images = torch.from_numpy(stored).permute(0, 3, 1, 2).float()
    return images if stored.dtype == np.float32 else images / (np.iinfo(stored.dtype).max / 2) - 1
