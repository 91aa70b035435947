"""The pack: a dataset decoded once into a memory map of uint8 pixels, kept in the cache."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from filelock import FileLock

from ganzoo.components.dataset import Dataset
from ganzoo.data.decode import DecodedImages, decode_images
from ganzoo.errors import DataError
from ganzoo.images import Facts, ImageSpec

FORMAT = 1
"""Raised whenever the layout of a pack, or the pixels that the same options give, change."""

_COMMON_OPTIONS_WITHOUT_EFFECT = {"name", "root", "horizontal_flip", "max_bad_fraction"}
_NAMES_IN_AN_ERROR = 20
_HEADROOM = 16 * 1024 * 1024


@dataclass(frozen=True, eq=False)
class Pack:
    """A dataset's images, decoded, cropped and resized.

    Attributes:
        images: (N, H, W, C) uint8, read-only and memory-mapped, so that opening costs nothing and
            `permute(0, 3, 1, 2)` is channels_last.
        labels: class indices (N,) int64; None for data without classes.
        facts: shape of the images, and names of the classes.
        skipped: images that could not be read and were left out, each with the reason.
        path: the pack's folder.
        key: hash of everything that the pixels depend on.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64] | None
    facts: Facts
    skipped: tuple[str, ...]
    path: Path
    key: str

    def __len__(self) -> int:
        return len(self.images)


def cache_folder() -> Path:
    """Where packs are kept: `$GANZOO_CACHE`, else `~/.cache/ganzoo`."""
    chosen = os.environ.get("GANZOO_CACHE")
    return Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "ganzoo"


def prepare_pack(
    dataset: Dataset, *, cache: Path | None = None, progress: Callable[[int, int], None] | None = None
) -> Pack:
    """Open the pack of a dataset, and make it first where there is none yet.

    The pack is filed under a hash of the dataset's class, its fingerprint and its options, without
    those that leave the pixels alone: the common ones of that kind, and any option declared with
    `json_schema_extra={"affects_pixels": False}`. It is written beside its place and moved there when
    it is whole; of several processes that want the same one, one makes it and the others wait.

    Args:
        dataset: what to prepare.
        cache: the folder to keep packs in, under `packs/`; left out: `cache_folder()`.
        progress: called with the images done and their total, now and then, while a pack is made.

    Raises:
        DataError: the data is missing, empty or unreadable, or there is no room for the pack.
    """
    name = dataset.config.name or type(dataset).__name__.lower()
    packs = (cache or cache_folder()) / "packs"
    with _reporting_disk_errors(name, packs):
        packs.mkdir(parents=True, exist_ok=True)
        # Two locks, as the pack's own place depends on what `prepare` finds or downloads.
        with _prepare_lock(packs, name, dataset):
            dataset.prepare()
        made_from = _made_from(dataset, name)
        key = _digest(made_from)
        path = packs / f"{_file_name(name)}-{key[:16]}"
        pack = _open(path, key)
        if pack is None:
            with FileLock(packs / f"{path.name}.lock"):
                pack = _open(path, key) or _make(dataset, path, key, made_from, progress)
    _check_bad_images(name, dataset, pack.skipped, len(pack) + len(pack.skipped))
    return pack


def _prepare_lock(packs: Path, name: str, dataset: Dataset) -> AbstractContextManager[object]:
    """A lock on looking for, or downloading, a dataset; none in a cache that may only be read, with its packs ready."""
    if not os.access(packs, os.W_OK):
        return nullcontext()
    root = Path(dataset.config.root).expanduser().absolute()
    return FileLock(packs / f"{_file_name(name)}-{_digest(str(root))[:8]}.prepare.lock")


def _make(
    dataset: Dataset,
    path: Path,
    key: str,
    made_from: dict[str, Any],
    progress: Callable[[int, int], None] | None,
) -> Pack:
    """Decode a dataset into `path`; its lock is held, so whatever lies half-made there is nobody's."""
    for left_over in path.parent.glob(f".{path.name}.*"):
        shutil.rmtree(left_over, ignore_errors=True)
    source = dataset.open()
    if not len(source):
        raise DataError(f'the dataset "{made_from["name"]}" has no images (dataset.root is {dataset.config.root})')
    facts = Facts(dataset.config.image_spec(), dataset.class_names())
    _check_room(path.parent, made_from["name"], len(source), facts.image)
    folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        with (folder / "images.npy").open("wb") as file:
            decoded = decode_images(dataset, source, file, progress)
            _flush(file.fileno())
        _check_bad_images(made_from["name"], dataset, decoded.bad, len(source))
        if facts.class_names:
            _write_labels(folder / "labels.npy", made_from["name"], decoded, facts)
        with (folder / "pack.json").open("w", encoding="utf-8") as text:
            json.dump(_contents(key, made_from, facts, decoded), text, indent=1)
            text.flush()
            _flush(text.fileno())
        if path.exists():
            shutil.rmtree(path)
        folder.rename(path)
        _flush_folder(path.parent)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    pack = _open(path, key)
    if pack is None:
        raise DataError(f"the pack {path} changed while it was made: is another program writing there?")
    return pack


def _open(path: Path, key: str) -> Pack | None:
    """The pack at `path`, or None where it is missing, damaged or another one."""
    try:
        contents = json.loads((path / "pack.json").read_text(encoding="utf-8"))
        if contents["format"] != FORMAT or contents["key"] != key:
            return None
        facts = Facts(ImageSpec(**contents["image"]), tuple(contents["class_names"]))
        shape = (contents["count"], facts.image.height, facts.image.width, facts.image.channels)
        images = np.load(path / "images.npy", mmap_mode="r")
        if images.shape != shape or images.dtype != np.uint8 or not images.flags.c_contiguous:
            return None
        labels = np.load(path / "labels.npy") if facts.class_names else None
        if labels is not None and (labels.shape != shape[:1] or labels.dtype != np.int64):
            return None
        return Pack(images, labels, facts, tuple(contents["skipped"]), path, key)
    except (OSError, ValueError, KeyError, TypeError, EOFError):
        return None


def _contents(key: str, made_from: dict[str, Any], facts: Facts, decoded: DecodedImages) -> dict[str, Any]:
    image = {"channels": facts.image.channels, "height": facts.image.height, "width": facts.image.width}
    return {
        "format": FORMAT,
        "key": key,
        "image": image,
        "class_names": list(facts.class_names),
        "count": len(decoded.labels),
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


def _check_bad_images(name: str, dataset: Dataset, bad: tuple[str, ...] | list[str], total: int) -> None:
    """Raise unless the options allow as many unreadable images, and at least one is left."""
    allowed = dataset.config.max_bad_fraction
    if not bad or (len(bad) <= allowed * total and len(bad) < total):
        return
    listed = [f"  {text}" for text in bad[:_NAMES_IN_AN_ERROR]]
    if len(bad) > _NAMES_IN_AN_ERROR:
        listed.append(f"  … and {len(bad) - _NAMES_IN_AN_ERROR} more")
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


def _write_labels(path: Path, name: str, decoded: DecodedImages, facts: Facts) -> None:
    labels = np.asarray(decoded.labels, dtype=np.int64)
    wrong = labels[(labels < 0) | (labels >= facts.num_classes)]
    if len(wrong):
        raise DataError(
            f'the dataset "{name}" gives an image the class index {wrong[0]}, and names {facts.num_classes} '
            f"classes: an index must be between 0 and {facts.num_classes - 1}"
        )
    with path.open("wb") as file:
        np.save(file, labels)
        _flush(file.fileno())


def _check_room(folder: Path, name: str, count: int, image: ImageSpec) -> None:
    need = count * (image.channels * image.height * image.width + 8) + _HEADROOM
    free = shutil.disk_usage(folder).free
    if free < need:
        raise DataError(
            f'the pack of the dataset "{name}" ({count} images of {image}) needs {_size(need)} in {folder}, '
            f"and {_size(free)} are free there: free some, or set GANZOO_CACHE to a folder on a larger disk"
        )


@contextmanager
def _reporting_disk_errors(name: str, packs: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        text = error.strerror or str(error)
        if error.filename is not None and not Path(error.filename).is_relative_to(packs):
            raise DataError(f'{error.filename}: {text} (wanted for the dataset "{name}")') from error
        raise DataError(
            f'the pack of the dataset "{name}" cannot be written to {packs}: {text}. '
            f"Set GANZOO_CACHE to keep packs elsewhere"
        ) from error


def _size(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def _digest(value: object) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _file_name(name: str) -> str:
    return re.sub(r"[^\w.-]", "_", name)


def _flush(descriptor: int) -> None:
    os.fsync(descriptor)


def _flush_folder(folder: Path) -> None:
    """Make the rename itself last; systems that cannot open a folder do without."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
