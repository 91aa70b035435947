"""Packed datasets: decoded once into a memory map of uint8 pixels and kept in the cache."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import re
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from filelock import FileLock, Timeout
from torch import Tensor

from ganzoo.components.dataset import Dataset, StoredImages
from ganzoo.components.spec import DatasetInfo, ImageSpec, LabelSpec
from ganzoo.data.decode import DecodedImages, decode_images, npy_header
from ganzoo.errors import DataError
from ganzoo.runtime.random_state import kept_random_state
from ganzoo.storage.disk import check_room, sync
from ganzoo.text import parse_json

FORMAT = 2
"""Raised whenever the layout of a pack, or the pixels that the same options give, change."""

_COMMON_OPTIONS_WITHOUT_EFFECT = {"name", "root", "horizontal_flip", "max_bad_fraction", "placement"}
_NAMES_IN_AN_ERROR = 20
_IMAGES_AT_ONCE = 1024
_HEADROOM = 16 * 1024 * 1024


@dataclass(frozen=True, eq=False)
class PackedDataset:
    """A dataset's images, decoded, cropped and resized.

    Attributes:
        images: (N, H, W, C) uint8, read-only and memory-mapped, so that opening costs nothing and
            `permute(0, 3, 1, 2)` is channels_last.
        labels: class indices (N,) int64; None for data without classes.
        info: shape of the images, and names of the classes.
        skipped: images that could not be read and were left out, each with the reason.
        path: the pack's folder.
        key: hash of everything that the pixels depend on.
        checksum: CRC-32 of all pixels, as they were when the pack was made.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64] | None
    info: DatasetInfo
    skipped: tuple[str, ...]
    path: Path
    key: str
    checksum: int = 0

    def __len__(self) -> int:
        return len(self.images)

    def is_intact(self) -> bool:
        """Return whether the pixels still match their checksum; reads them all."""
        checksum = 0
        for start in range(0, len(self), _IMAGES_AT_ONCE):
            checksum = zlib.crc32(self.images[start : start + _IMAGES_AT_ONCE].data, checksum)
        return checksum == self.checksum


def cache_folder() -> Path:
    """Return the cache folder: `$GANZOO_CACHE`, else `~/.cache/ganzoo`."""
    chosen = os.environ.get("GANZOO_CACHE")
    return Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "ganzoo"


@kept_random_state()  # a dataset may draw which images it gives
def pack_dataset(
    dataset: Dataset,
    *,
    cache: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    check: bool = False,
) -> PackedDataset:
    """Open the pack of a dataset, after making it where there is none yet.

    The pack is filed under a hash of the dataset's class, its fingerprint and its options, without
    those that do not affect the pixels: the common ones of that kind, and any option declared with
    `json_schema_extra={"affects_pixels": False}`. It is written under a temporary name and renamed when
    complete; of several processes that want the same pack, one makes it and the others wait.

    Args:
        dataset: the dataset to pack.
        cache: the folder to keep packs in, under `packed_datasets/`; left out: `cache_folder()`.
        progress: called with the number of images done and in all while a pack is made.
        check: read all pixels of an existing pack, and remake it if they have changed; the shape
            of the files and the labels are checked in any case.

    Raises:
        DataError: the data is missing, empty or unreadable, or there is no room for the pack.
    """
    name = dataset.config.name or type(dataset).__name__.lower()
    packed_datasets = (cache or cache_folder()) / "packs"
    with reporting_disk_errors(name, packed_datasets):
        packed_datasets.mkdir(parents=True, exist_ok=True)
        # Two locks, since the name of the pack depends on what `prepare` finds or downloads.
        with _prepare_lock(packed_datasets, name, dataset):
            dataset.prepare()
        made_from = _made_from(dataset, name)
        key = _digest(made_from)
        path = packed_datasets / f"{_file_name(name)}-{key[:16]}"
        packed = _ready(path, key, dataset, check)
        if packed is None:
            with FileLock(packed_datasets / f"{path.name}.lock"):
                packed = _ready(path, key, dataset, check) or _make(dataset, path, key, made_from, progress)
    return packed


def _prepare_lock(packed_datasets: Path, name: str, dataset: Dataset) -> AbstractContextManager[object]:
    """Return a lock on finding or downloading a dataset; none in a read-only cache, whose packs must be ready."""
    if not os.access(packed_datasets, os.W_OK):
        return nullcontext()
    root = Path(dataset.config.root).expanduser().absolute()
    return FileLock(packed_datasets / f"{_file_name(name)}-{_digest(str(root))[:8]}.prepare.lock")


def _ready(path: Path, key: str, dataset: Dataset, check: bool) -> PackedDataset | None:
    """Return the pack at `path` if it is usable; one that skips too many images is not, as they may be repaired now."""
    packed = _open(path, key)
    if packed is None or not _allows(dataset, len(packed.skipped), len(packed) + len(packed.skipped)):
        return None
    return packed if not check or packed.is_intact() else None


def _make(
    dataset: Dataset,
    path: Path,
    key: str,
    made_from: dict[str, Any],
    progress: Callable[[int, int], None] | None,
) -> PackedDataset:
    """Decode a dataset into `path`. The caller holds the lock, so partial files may be deleted."""
    _clear_left_overs(path)
    source = dataset.open()
    if not len(source):
        raise DataError(f'the dataset "{made_from["name"]}" has no images (dataset.root is {dataset.config.root})')
    info = DatasetInfo(dataset.config.image_spec(), LabelSpec.classes(dataset.class_names()))
    check_room(
        path.parent,
        len(source) * (math.prod(info.image.shape) + 8) + _HEADROOM,
        f'the pack of the dataset "{made_from["name"]}" ({len(source)} images of {info.image})',
        "make room there, or set GANZOO_CACHE to a folder on a larger disk",
        DataError,
    )
    folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        with (folder / "images.npy").open("wb") as file:
            decoded = decode_images(dataset, source, file, progress)
            os.fsync(file.fileno())
        _check_bad_images(made_from["name"], dataset, decoded.bad, len(source))
        labels = _labels_file(made_from["name"], decoded, info)
        if info.class_names:
            with (folder / "labels.npy").open("wb") as file:
                file.write(labels)
                os.fsync(file.fileno())
        with (folder / "pack.json").open("w", encoding="utf-8") as text:
            json.dump(_contents(key, made_from, info, decoded, labels), text, indent=1)
            text.flush()
            os.fsync(text.fileno())
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
        contents = parse_json((path / "pack.json").read_text(encoding="utf-8"))
        if contents["format"] != FORMAT or contents["key"] != key:
            return None
        info = DatasetInfo(ImageSpec(**contents["image"]), LabelSpec.classes(contents["class_names"]))
        shape = (contents["count"], info.image.height, info.image.width, info.image.channels)
        images = _map(path / "images.npy", shape)
        labels = _load(path / "labels.npy", contents["labels_checksum"]) if info.class_names else None
        if images is None or (info.class_names and (labels is None or len(labels) != len(images))):
            return None
        return PackedDataset(images, labels, info, tuple(contents["skipped"]), path, key, contents["checksum"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _map(path: Path, shape: tuple[int, ...]) -> npt.NDArray[np.uint8] | None:
    """Map the array in a `.npy` file; return None unless its header and length are those of this shape."""
    header = npy_header(shape)
    with path.open("rb") as file:
        if file.read(len(header)) != header or file.seek(0, os.SEEK_END) != len(header) + math.prod(shape):
            return None
        return np.memmap(file, dtype=np.uint8, mode="r", offset=len(header), shape=shape)


def _load(path: Path, checksum: int) -> npt.NDArray[np.int64] | None:
    data = path.read_bytes()
    return np.load(io.BytesIO(data)) if zlib.crc32(data) == checksum else None


def _contents(
    key: str, made_from: dict[str, Any], info: DatasetInfo, decoded: DecodedImages, labels: bytes
) -> dict[str, Any]:
    image = {"channels": info.image.channels, "height": info.image.height, "width": info.image.width}
    return {
        "format": FORMAT,
        "key": key,
        "image": image,
        "class_names": list(info.class_names),
        "count": len(decoded.labels),
        "checksum": decoded.checksum,
        "labels_checksum": zlib.crc32(labels),
        "skipped": decoded.bad,
        "made_from": made_from,
    }


def _made_from(dataset: Dataset, name: str) -> dict[str, Any]:
    config = dataset.config
    without_effect = _COMMON_OPTIONS_WITHOUT_EFFECT | {
        option
        for option, field in type(config).model_fields.items()
        if isinstance(field.json_schema_extra, dict) and field.json_schema_extra.get("affects_pixels") is False
    }
    return {
        "format": FORMAT,
        "name": name,
        "class": f"{type(dataset).__module__}:{type(dataset).__qualname__}",
        "options": config.model_dump(mode="json", exclude=without_effect),
        "fingerprint": _digest(list(dataset.fingerprint())),
    }


def _allows(dataset: Dataset, bad: int, total: int) -> bool:
    return not bad or (bad <= dataset.config.max_bad_fraction * total and bad < total)


def _check_bad_images(name: str, dataset: Dataset, bad: list[str], total: int) -> None:
    """Raise DataError if more images are bad than the options allow, or none is left."""
    if _allows(dataset, len(bad), total):
        return
    allowed = dataset.config.max_bad_fraction
    listed = [f"  {text}" for text in bad[:_NAMES_IN_AN_ERROR]]
    if len(bad) > _NAMES_IN_AN_ERROR:
        listed.append(f"  … and {len(bad) - _NAMES_IN_AN_ERROR} more; `ganzoo data doctor` lists all")
    share = len(bad) / total
    allowing = f" ({allowed:g} are allowed)" if allowed else ""
    raise DataError(
        "\n".join(
            [
                f'{len(bad)} of {total} images of the dataset "{name}" cannot be used, '
                f"a share of {share:.2g}{allowing}:",
                *listed,
                "Repair or remove them, or leave them out: set dataset.max_bad_fraction above their share.",
            ]
        )
    )


def _labels_file(name: str, decoded: DecodedImages, info: DatasetInfo) -> bytes:
    """Return the contents of `labels.npy`."""
    labels = np.asarray(decoded.labels, dtype=np.int64)
    wrong = labels[(labels < 0) | (labels >= info.num_classes)]
    if info.class_names and len(wrong):
        raise DataError(
            f'the dataset "{name}" gives an image the class index {wrong[0]}, and names {info.num_classes} '
            f"classes: an index must be between 0 and {info.num_classes - 1}"
        )
    file = io.BytesIO()
    np.save(file, labels)
    return file.getvalue()


def _digest(value: object) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _file_name(name: str) -> str:
    return re.sub(r"[^\w.-]", "_", name)


@contextmanager
def reporting_disk_errors(name: str, packed_datasets: Path) -> Iterator[None]:
    """Turn an OSError inside into a DataError that names the file and the cure."""
    try:
        yield
    except OSError as error:
        text = error.strerror or str(error)
        if error.filename is not None and not Path(error.filename).is_relative_to(packed_datasets):
            raise DataError(f'{error.filename}: {text} (wanted for the dataset "{name}")') from error
        raise DataError(
            f'the pack of the dataset "{name}" cannot be written to {packed_datasets}: {text}. '
            f"Set GANZOO_CACHE to keep packs elsewhere"
        ) from error


def real_images(packed: StoredImages, indices: Tensor) -> Tensor:
    """Return the images (N, C, H, W) in [−1, 1] at these indices (N,) of a pack, on the CPU."""
    return torch.from_numpy(packed.images[indices.numpy()]).permute(0, 3, 1, 2).float() / 127.5 - 1
