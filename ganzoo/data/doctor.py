"""A look at a whole dataset before anything is trained on it: what is in it, what is bad, what comes twice."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from statistics import median_low
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ganzoo.components.dataset import Dataset, ImageSource
from ganzoo.components.options import DatasetConfig
from ganzoo.data.decode import in_chunks, reason
from ganzoo.data.transforms import TooSmallError, enlargement, to_pixels
from ganzoo.errors import DataError

_STEP = 16
_COMMON_SIZES = 10
# Pictures are near-duplicates if at most 3 of the 64 comparisons of neighboring pixels in 9×8 grays differ, and
# 8×8 thumbnails by at most 4 of 255 on average. Two such hashes agree in one of four parts of 16 bits at least, so
# they come close to each other when the hashes are sorted by that part.
_MOST_BITS = 3
_MOST_DIFFERENCE = 4.0
_PART_BITS = 16
_NEIGHBORS = 16


@dataclass
class Examination:
    """What a dataset holds.

    Attributes:
        dataset: its name.
        images: how many it offers.
        usable: how many of them can be trained on.
        sizes: how many images there are of each (width, height) as stored.
        modes: how many of each of PIL's modes.
        formats: how many of each file format; "none" for those that are stored in another way.
        classes: how many usable images each class has; empty without classes.
        unreadable: each image that cannot be used, with the reason.
        too_small: each image that is smaller than the crop.
        enlarged: each image that is enlarged on its way, with its size and the factor.
        duplicates: groups of images that are the same to the networks, pixel for pixel.
        near_duplicates: groups of images that look the same and are not all equal.
        notes: what else there is to know.
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
        """All of it as JSON has it; sizes in short, as there may be one for every image."""
        return {**vars(self), "sizes": self.size_summary()}

    def size_summary(self) -> dict[str, Any]:
        """Smallest, middle and largest width and height, and the most common sizes."""
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


@dataclass(frozen=True, slots=True)
class _Seen:
    """One image: `problem` is why it cannot be used, and then the rest may be missing."""

    index: int
    size: tuple[int, int] | None = None
    mode: str = ""
    format: str = ""
    label: int = 0
    problem: str = ""
    too_small: bool = False
    digest: bytes = b""
    hash: int = 0
    thumbnail: bytes = b""


def examine(dataset: Dataset, progress: Callable[[int, int], None] | None = None) -> Examination:
    """Read every image of a dataset, as it would be packed, without stopping at bad ones and without a pack.

    Args:
        dataset: what to look at.
        progress: called with the images done and their total, now and then.

    Raises:
        DataError: the data as a whole is missing or cannot be opened.
    """
    name = dataset.config.name or type(dataset).__name__.lower()
    try:
        dataset.prepare()
    except OSError as error:
        raise DataError(f'{error.filename}: {error.strerror or error} (wanted for the dataset "{name}")') from error
    source = dataset.open()
    found = Examination(name, len(source), notes=list(dataset.notes()))
    counts: Counter[int] = Counter()
    usable: list[_Seen] = []
    done = 0
    look = partial(_look, source, dataset.config)
    with closing(in_chunks(found.images, _STEP, look)) as chunks:
        for chunk in chunks:
            for seen in chunk:
                _note(found, seen, dataset)
                if not seen.problem:
                    usable.append(seen)
                    counts[seen.label] += 1
            done += len(chunk)
            if progress is not None:
                progress(done, found.images)
    found.usable = len(usable)
    found.classes = {title: counts[index] for index, title in enumerate(dataset.class_names())}
    found.duplicates = _named(_same(usable), usable, dataset)
    found.near_duplicates = _named(_alike(usable), usable, dataset)
    return found


def _look(source: ImageSource, config: DatasetConfig, indices: range) -> list[_Seen]:
    return [_look_at(source, config, index) for index in indices]


def _look_at(source: ImageSource, config: DatasetConfig, index: int) -> _Seen:
    try:
        image, label = source[index]
        kind = (image.size, image.mode, image.format or "none", int(label))
    except Exception as error:  # decoders raise nearly every type on damaged files
        return _Seen(index, problem=reason(error))
    try:
        pixels = to_pixels(image, config)
    except Exception as error:
        return _Seen(index, *kind, problem=reason(error), too_small=isinstance(error, TooSmallError))
    picture = Image.fromarray(pixels.squeeze(2) if config.channels == 1 else pixels)
    grays = np.asarray(picture.convert("L").resize((9, 8), Image.Resampling.BOX))
    bits = np.packbits(grays[:, 1:] > grays[:, :-1])
    thumbnail = picture.resize((8, 8), Image.Resampling.BOX).tobytes()
    digest = hashlib.blake2b(pixels.tobytes(), digest_size=16).digest()
    return _Seen(index, *kind, digest=digest, hash=int.from_bytes(bits.tobytes(), "big"), thumbnail=thumbnail)


def _note(found: Examination, seen: _Seen, dataset: Dataset) -> None:
    if seen.size is not None:
        found.sizes[seen.size] += 1
        found.modes[seen.mode] += 1
        found.formats[seen.format] += 1
    if seen.problem:
        listed = found.too_small if seen.too_small else found.unreadable
        listed.append(f"{dataset.describe(seen.index)}: {seen.problem}")
    elif seen.size is not None and (factor := enlargement(seen.size, dataset.config)) > 1:
        width, height = seen.size
        found.enlarged.append(f"{dataset.describe(seen.index)}: {width}×{height} pixels, enlarged {factor:.3g} times")


def _same(seen: list[_Seen]) -> list[list[int]]:
    """Positions of images whose pixels are equal, in groups of at least two."""
    groups: dict[bytes, list[int]] = {}
    for position, each in enumerate(seen):
        groups.setdefault(each.digest, []).append(position)
    return [group for group in groups.values() if len(group) > 1]


def _alike(seen: list[_Seen]) -> list[list[int]]:
    """Positions of images that look the same, in groups that are not all equal; what is like a third is alike."""
    if len(seen) < 2:
        return []
    first_of: dict[bytes, int] = {}
    groups = [first_of.setdefault(each.digest, position) for position, each in enumerate(seen)]

    def group_of(position: int) -> int:
        while groups[position] != position:
            groups[position] = groups[groups[position]]
            position = groups[position]
        return position

    hashes = np.array([each.hash for each in seen], dtype=np.uint64)
    thumbnails = np.frombuffer(b"".join(each.thumbnail for each in seen), dtype=np.uint8).reshape(len(seen), -1)
    for first, second in _alike_pairs(hashes, thumbnails):
        low, high = sorted((group_of(first), group_of(second)))
        groups[high] = low
    together: dict[int, list[int]] = {}
    for position in range(len(seen)):
        together.setdefault(group_of(position), []).append(position)
    return [group for group in together.values() if len({seen[position].digest for position in group}) > 1]


def _alike_pairs(hashes: npt.NDArray[np.uint64], thumbnails: npt.NDArray[np.uint8]) -> Iterator[tuple[int, int]]:
    """Pairs of positions of images that look the same; enough of them to make the groups whole."""
    for turn in range(0, 64, _PART_BITS):
        order = np.argsort((hashes << np.uint64(turn)) | (hashes >> np.uint64((64 - turn) % 64)), kind="stable")
        for step in range(1, min(_NEIGHBORS, len(order) - 1) + 1):
            differing = (hashes[order[step:]] ^ hashes[order[:-step]]).view(np.uint8).reshape(-1, 8)
            places = np.flatnonzero(np.unpackbits(differing, axis=1).sum(axis=1) <= _MOST_BITS)
            first, second = order[places], order[places + step]
            distances = np.abs(thumbnails[first].astype(np.int16) - thumbnails[second]).mean(axis=1)
            alike = distances <= _MOST_DIFFERENCE
            yield from zip(first[alike].tolist(), second[alike].tolist(), strict=True)


def _named(groups: list[list[int]], seen: list[_Seen], dataset: Dataset) -> list[list[str]]:
    return [[dataset.describe(seen[position].index) for position in group] for group in groups]
