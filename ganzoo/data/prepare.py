"""Preparation of a dataset ahead of training, and its examination: contents, unreadable images and duplicates."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from statistics import median_low
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ganzoo.components.dataset import Dataset
from ganzoo.components.options import ImageDatasetConfig
from ganzoo.components.spec import ImageSpec
from ganzoo.data.decode import in_order, unusable_reason
from ganzoo.data.findings import levels, name_of
from ganzoo.data.loader import batch_advice
from ganzoo.data.packed_dataset import PackedDataset, pack_dataset
from ganzoo.data.samples import SampleReader, reporting_source_errors
from ganzoo.data.transforms import TooSmallError, allowed_pixels, enlargement, upright_size
from ganzoo.recipe.model import Recipe
from ganzoo.registry.plugin_manager import PluginManager
from ganzoo.runtime.random_state import kept_random_state
from ganzoo.terminal import count_progress

_STEP = 16
_COMMON_SIZES = 10
# Images are near-duplicates if at most 3 of the 64 comparisons of neighboring pixels in 9×8 grays differ, and
# 8×8 thumbnails by at most 4 of 255 on average. Two such hashes agree in one of four parts of 16 bits at least, so
# they come close to each other when the hashes are sorted by that part.
_MOST_BITS = 3
_MOST_DIFFERENCE = 4.0
_PART_BITS = 16
_NEIGHBORS = 16


@dataclass
class Examination:
    """Report on the images of a dataset.

    Attributes:
        dataset: its name.
        images: number of images.
        usable: number of images that can be trained on.
        sizes: number of images of each stored (width, height).
        modes: number of images of each PIL mode, or type of array.
        formats: number of images of each file format; "array" for arrays, "none" for other images without a file.
        classes: number of usable images of each class or with each attribute; empty without either.
        unreadable: each image that cannot be used, with the reason.
        too_small: each image that is smaller than the crop.
        enlarged: each image that is enlarged by the transforms, with its size and the factor.
        duplicates: groups of images whose pixels are equal after the transforms.
        near_duplicates: groups of images that look the same and are not all equal.
        notes: further remarks, a sentence each.
    """

    dataset: str
    images: int
    usable: int = 0
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    modes: Counter[str] = field(default_factory=Counter)
    formats: Counter[str] = field(default_factory=Counter)
    classes: dict[str, int] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)
    too_small: list[str] = field(default_factory=list)
    enlarged: list[str] = field(default_factory=list)
    duplicates: list[list[str]] = field(default_factory=list)
    near_duplicates: list[list[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return all fields for JSON, with `sizes` summarized, since every image may have its own."""
        return {**vars(self), "sizes": self.size_summary()}

    def size_summary(self) -> dict[str, Any]:
        """Return the smallest, median and largest width and height, and the most common sizes."""
        if not self.sizes:
            return {}
        widths, heights = (sorted(size[axis] for size in self.sizes.elements()) for axis in (0, 1))
        return {
            "width": {"smallest": widths[0], "median": median_low(widths), "largest": widths[-1]},
            "height": {"smallest": heights[0], "median": median_low(heights), "largest": heights[-1]},
            "different": len(self.sizes),
            "most_common": [
                {"width": width, "height": height, "images": count}
                for (width, height), count in self.sizes.most_common(_COMMON_SIZES)
            ],
        }


@dataclass(slots=True)
class _Report:
    """What was found of one sample; the other fields may be unset where `problem` says why it cannot be used."""

    index: int
    size: tuple[int, int] | None = None
    mode: str = ""
    format: str = ""
    label: Any = None
    problem: str = ""
    too_small: bool = False
    digest: bytes = b""
    hash: int = 0
    thumbnail: bytes = b""


def prepare(recipe: Recipe, manager: PluginManager) -> PackedDataset:
    """Pack the dataset of a recipe, or check every byte of the packed dataset that exists.

    Raises:
        DataError: the data is missing or unreadable.
    """
    with count_progress() as progress:
        return pack_dataset(_dataset(recipe, manager), progress=progress, check=True)


def examine(recipe: Recipe, manager: PluginManager) -> Examination:
    """Check every image of a recipe's dataset, without stopping at bad ones.

    Raises:
        DataError: the data as a whole is missing.
    """
    dataset = _dataset(recipe, manager)
    if isinstance(dataset.config, ImageDatasetConfig):
        dataset.config = dataset.config.model_copy(update={"fast_decode": False})  # sizes as they are stored
    with count_progress(what="checking images") as progress:
        found = examine_dataset(dataset, progress)
    needed = recipe.trainer.batch_size * recipe.trainer.batches_per_step
    if found.usable < needed:
        found.notes.append(
            f"{found.usable} usable images are fewer than the {needed} that a step takes: "
            f"{batch_advice(found.usable, recipe.trainer.batches_per_step)}"
        )
    return found


def _dataset(recipe: Recipe, manager: PluginManager) -> Dataset:
    dataset: Dataset = manager.registries.datasets[recipe.dataset.name].load()(recipe.dataset)
    return dataset


@kept_random_state()
def examine_dataset(dataset: Dataset, progress: Callable[[int, int], None] | None = None) -> Examination:
    """Check every image of a dataset through the transforms of a run, without stopping at bad ones or packing.

    Args:
        dataset: the dataset to check.
        progress: called with the number of images done and in all, after each chunk.

    Raises:
        DataError: the data as a whole is missing or cannot be opened.
    """
    name = name_of(dataset)
    with allowed_pixels(dataset.config):
        with reporting_source_errors(dataset):
            dataset.prepare()
        reader = SampleReader(dataset)
        found = Examination(name, len(reader), notes=list(dataset.notes()))
        usable = _check(reader, found, progress)
        found.usable = len(usable)
        found.notes += reader.findings()
        if reader.info.condition is not None and not reader.paired:
            conditions = SampleReader(dataset, conditions=True)
            _check(conditions, found, progress)
            found.notes += conditions.findings()
        labels = reader.info.labels
        if labels is not None and labels.kind != "continuous":
            of_classes = labels.kind == "classes"
            chosen = ([each.label] if of_classes else np.flatnonzero(each.label).tolist() for each in usable)
            counts = Counter(chain.from_iterable(chosen))
            found.classes = {name: counts[place] for place, name in enumerate(labels.names)}
    found.duplicates = _described(_groups(each.digest for each in usable), usable, reader)
    if isinstance(reader.info.samples, ImageSpec):
        found.near_duplicates = _described(_near_duplicates(usable), usable, reader)
    return found


def _check(
    reader: SampleReader, found: Examination, progress: Callable[[int, int], None] | None = None
) -> list[_Report]:
    """Note in `found` what the samples are and which cannot be used; return the others."""
    config, usable = reader.dataset.config, []
    with closing(in_order(len(reader), _STEP, partial(_check_sample, reader), progress)) as reports:
        for seen in reports:
            if seen.mode and not reader.are_conditions:
                found.modes[seen.mode] += 1
                found.formats[seen.format] += 1
                found.sizes.update([seen.size] if seen.size else [])
            if seen.problem:
                listed = found.too_small if seen.too_small else found.unreadable
                listed.append(f"{reader.describe(seen.index)}: {seen.problem}")
                continue
            usable.append(seen)
            if reader.are_conditions or seen.size is None or not isinstance(config, ImageDatasetConfig):
                continue
            factor = enlargement(seen.size, config)
            if factor > 1:
                pixels = "{}×{} pixels".format(*seen.size)
                found.enlarged.append(f"{reader.describe(seen.index)}: {pixels}, enlarged {factor:.3g} times")
    return usable


def _check_sample(reader: SampleReader, index: int) -> _Report:
    found = _Report(index)
    try:
        given = reader.given(index)
        found.size, found.mode, found.format = _kind_of(given[0])
        stored, *_, found.label = reader.transform(*given)
    except Exception as error:  # decoders raise nearly every type on damaged files
        reader.surveys[0].fail(error)
        found.problem, found.too_small = unusable_reason(error), isinstance(error, TooSmallError)
        return found
    found.digest = hashlib.blake2b(stored.tobytes(), digest_size=16).digest()
    if stored.ndim == 3:
        pixels = levels(stored)
        transformed = Image.fromarray(pixels[:, :, :3] if pixels.shape[2] >= 3 else pixels[:, :, 0])
        grays = np.asarray(transformed.convert("L").resize((9, 8), Image.Resampling.BOX))
        found.hash = int.from_bytes(np.packbits(grays[:, 1:] > grays[:, :-1]).tobytes(), "big")
        found.thumbnail = transformed.resize((8, 8), Image.Resampling.BOX).tobytes()
    return found


def _kind_of(given: Any) -> tuple[tuple[int, int] | None, str, str]:
    """Return size, mode and file format of what a dataset gives."""
    if isinstance(given, Image.Image):
        return upright_size(given), given.mode, given.format or "none"
    array = np.asarray(given)
    if array.ndim < 2:
        return None, f"{array.dtype}, {array.size} numbers", "array"
    channels = array.shape[2] if array.ndim == 3 else 1
    return (array.shape[1], array.shape[0]), f"{array.dtype}, {channels} channels", "array"


def _groups(keys: Iterable[Hashable]) -> list[list[int]]:
    """Return groups, of at least two, of positions with equal keys."""
    groups: dict[Hashable, list[int]] = {}
    for position, key in enumerate(keys):
        groups.setdefault(key, []).append(position)
    return [group for group in groups.values() if len(group) > 1]


def _near_duplicates(seen: list[_Report]) -> list[list[int]]:
    """Return groups of positions of images that look the same but are not all equal."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if len(seen) < 2:
        return []
    first_of: dict[bytes, int] = {}
    equal = [first_of.setdefault(each.digest, position) for position, each in enumerate(seen)]
    hashes = np.array([each.hash for each in seen], dtype=np.uint64)
    thumbnails = np.frombuffer(b"".join(each.thumbnail for each in seen), dtype=np.uint8).reshape(len(seen), -1)
    pairs = np.hstack([[range(len(seen)), equal], *_near_duplicate_pairs(hashes, thumbnails)])
    links = coo_array((np.ones(pairs.shape[1]), tuple(pairs)), shape=(len(seen), len(seen)))
    _, components = connected_components(links, directed=False)
    groups = _groups(components.tolist())
    return [group for group in groups if len({seen[position].digest for position in group}) > 1]


def _near_duplicate_pairs(
    hashes: npt.NDArray[np.uint64], thumbnails: npt.NDArray[np.uint8]
) -> Iterator[npt.NDArray[np.int64]]:
    """Yield pairs (2, n) of positions of images that look the same, enough of them to connect each group."""
    for shift in range(0, 64, _PART_BITS):
        order = np.argsort((hashes << np.uint64(shift)) | (hashes >> np.uint64((64 - shift) % 64)), kind="stable")
        for step in range(1, min(_NEIGHBORS, len(order) - 1) + 1):
            differing = (hashes[order[step:]] ^ hashes[order[:-step]]).view(np.uint8).reshape(-1, 8)
            places = np.flatnonzero(np.unpackbits(differing, axis=1).sum(axis=1) <= _MOST_BITS)
            first, second = order[places], order[places + step]
            distances = np.abs(thumbnails[first].astype(np.int16) - thumbnails[second]).mean(axis=1)
            yield np.stack([first, second])[:, distances <= _MOST_DIFFERENCE]


def _described(groups: list[list[int]], seen: list[_Report], reader: SampleReader) -> list[list[str]]:
    return [[reader.describe(seen[position].index) for position in group] for group in groups]
