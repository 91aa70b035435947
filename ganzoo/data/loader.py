"""Data loader: an endless, seekable stream of shuffled minibatches of a packed dataset, on the device."""

from __future__ import annotations

import hashlib
import math
import mmap
import warnings
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ganzoo.components.dataset import Batch
from ganzoo.data.packed_dataset import PackedDataset
from ganzoo.errors import DataError, RequestError
from ganzoo.runtime.memory import physical_memory
from ganzoo.runtime.restored import check_like

_SHARE_OF_MEMORY = 0.25
"""Share of the memory from which on a memory map is read image by image."""


@dataclass(frozen=True)
class _Epoch:
    """A permutation of the samples, and which of them are mirrored; on the CPU and on the device."""

    order: Tensor
    order_on_device: Tensor
    mirrored: Tensor | None


_Spans = list[tuple[_Epoch, slice]]


class _Permutations:
    """Endless permutations of `count` samples, which depend on the seed and the purpose alone."""

    def __init__(self, count: int, seed: int, device: torch.device, *, mirror: bool, purpose: str = "") -> None:
        self._count = count
        self._seed = seed
        self._device = device
        self._mirror = mirror
        self._purpose = purpose
        # A minibatch, and the one read ahead, touch two epochs that follow each other, no more.
        self._epoch = lru_cache(maxsize=2)(self._drawn)

    def spans(self, start: int, length: int) -> _Spans:
        """Return the spans of permutations that make up a range of positions."""
        spans, end = [], start + length
        while start < end:
            number, first = divmod(start, self._count)
            count = min(end - start, self._count - first)
            spans.append((self._epoch(number), slice(first, first + count)))
            start += count
        return spans

    def _drawn(self, number: int) -> _Epoch:
        # On the CPU whatever the device, so that all devices and processes see one order.
        order = torch.randperm(self._count, generator=_generator(self._seed, number, f"{self._purpose}order"))
        mirrored = None
        if self._mirror:
            coins = torch.rand(self._count, generator=_generator(self._seed, number, f"{self._purpose}mirror"))
            mirrored = (coins < 0.5).to(self._device)
        return _Epoch(order, order.to(self._device), mirrored)


class _Stored:
    """An array of samples in its place: a memory map on the host, read ahead where that helps, or on the device."""

    def __init__(self, array: npt.NDArray[Any], device: torch.device, placement: Literal["host", "device"]) -> None:
        self._device = device
        self._on_device = placement == "device"
        self._samples = _mapped(array)
        if self._on_device:
            self._samples = self._samples.to(device, copy=True)
        # Only a GPU computes while the next minibatch is gathered; on a CPU a thread would take its cores.
        reads_ahead = device.type == "cuda" and not self._on_device
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="ganzoo-loader") if reads_ahead else None
        self._ahead: tuple[int, Future[Tensor]] | None = None
        self._array = array
        self._map = None if self._on_device else large_map(array)
        if self._map is not None:
            # By default a system reads ahead around each page that it misses: Linux 128 KB, on some machines 8 MB.
            # Where the file does not fit into the memory, nearly all of that is evicted unused.
            self._map.madvise(mmap.MADV_RANDOM)

    def at(self, spans: _Spans) -> Tensor:
        """Return the samples of these spans, float32 and on the device."""
        samples = self._samples.index_select(0, _order(spans, on_device=self._on_device))
        return self._finished(spans, samples.to(self._device))

    def next(self, position: int, spans: _Spans) -> Tensor:
        """Return the same, taking what `read_ahead` has read for this position."""
        if self._reader is None:
            return self.at(spans)
        ahead, self._ahead = self._ahead, None
        pinned = ahead[1].result() if ahead and ahead[0] == position else self._gather_pinned(_order(spans))
        return self._finished(spans, pinned.to(self._device, non_blocking=True))

    def read_ahead(self, position: int, spans: _Spans) -> None:
        """Start to read the samples that are drawn next."""
        order = _order(spans)
        if self._map is not None:
            self._prefetch(self._map, order)
        if self._reader is not None:
            self._ahead = (position, self._reader.submit(self._gather_pinned, order))

    def _prefetch(self, pages: mmap.mmap, order: Tensor) -> None:
        """Start reading the pages of the samples at these indices in the background."""
        first = self._array.offset % mmap.ALLOCATIONGRANULARITY  # type: ignore[attr-defined]
        each = math.prod(self._array.shape[1:]) * self._array.itemsize
        for index in order.tolist():
            start = first + index * each
            page = start - start % mmap.PAGESIZE
            pages.madvise(mmap.MADV_WILLNEED, page, start + each - page)

    def _gather_pinned(self, order: Tensor) -> Tensor:
        # Torch keeps pinned memory in a pool and hands none out again before its copy to the device is done.
        pinned = _pinned((len(order), *self._samples.shape[1:]), self._samples.dtype)
        return torch.index_select(self._samples, 0, order, out=pinned)

    def _finished(self, spans: _Spans, stored: Tensor) -> Tensor:
        if stored.ndim == 2:
            return stored
        stored = _mirror(stored, spans)
        # The pack is (N, H, W, C), so the permuted view is channels_last as it stands.
        images = stored.permute(0, 3, 1, 2)
        if images.dtype == torch.float32:
            return images
        if images.dtype == torch.int16:  # uint16, see _mapped
            images = images.to(torch.int32).bitwise_and_(0xFFFF)
        half = 127.5 if stored.dtype == torch.uint8 else 32767.5
        # To multiply is faster than to divide, and the black and white of both types still give -1 and 1 exactly.
        return images.to(torch.float32).sub_(half).mul_(1 / half)


class Loader:
    """Endless minibatches: one permutation of the samples after the other, cut every `batch_size` samples.

    Every sample comes exactly once an epoch and none is dropped; a minibatch may straddle two epochs.
    The samples at a position depend on (seed, position) alone, so the position is the whole state to save,
    and `seek` restores it exactly, whatever the placement or the number of processes. A condition that belongs to a
    sample comes and is mirrored with it; conditions that belong to none have permutations of their own.

    Args:
        packed: the samples.
        batch_size: samples drawn together, over all processes.
        minibatches: number of equal minibatches among them, as a training step may take several.
        micro_batches: number of equal parts of a minibatch, of each of which every process takes a part.
        seed: of the order and the mirroring.
        device: of the batches.
        horizontal_flip: mirror half of the images at random.
        placement: keep the pack's pixels in a memory map ("host") or copy them to the device whole
            ("device"). "auto" takes the device where it is CUDA and half of its free memory suffices.
        rank: which contiguous part of each of the minibatches this process takes.
        world_size: into how many equal parts it is split.

    Raises:
        DataError: the pack holds fewer images than are drawn together.
        RequestError: the minibatch does not split evenly over the processes, or the device has no memory
            for the pack that `placement` puts on it.
    """

    def __init__(
        self,
        packed: PackedDataset,
        *,
        batch_size: int,
        minibatches: int = 1,
        micro_batches: int = 1,
        seed: int,
        device: torch.device | str,
        horizontal_flip: bool = False,
        placement: Literal["auto", "host", "device"] = "auto",
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        minibatch = batch_size // minibatches
        if len(packed) < batch_size:
            each = f", and a step takes {minibatches} minibatches" if minibatches > 1 else ""
            raise DataError(
                f"the dataset has {len(packed)} {packed.info.noun} and trainer.batch_size is {minibatch}{each}: "
                f"{batch_advice(len(packed), minibatches)}"
            )
        if minibatch % world_size:
            raise RequestError(
                f"trainer.batch_size is {minibatch} and there are {world_size} processes: "
                f"set it to a multiple of {world_size}"
            )
        assert 0 <= rank < world_size, f"rank {rank} of {world_size}"
        self.packed = packed
        self.batch_size = batch_size
        self.device = torch.device(device)
        self.placement = _place(packed, self.device, placement)
        parts = minibatches * (micro_batches if world_size > 1 else 1)
        self._share = batch_size // parts // world_size
        self._offsets = [rank * self._share + number * (batch_size // parts) for number in range(parts)]
        self.position = 0
        """Number of images drawn so far, over all processes."""
        self._labels = None if packed.labels is None else torch.from_numpy(packed.labels).to(self.device)
        own = _Permutations(len(packed), seed, self.device, mirror=horizontal_flip)
        self._parts = [(_Stored(packed.images, self.device, self.placement), own)]
        if packed.conditions is not None:
            if not packed.paired:
                count = len(packed.conditions)
                own = _Permutations(count, seed, self.device, mirror=horizontal_flip, purpose="condition ")
            self._parts.append((_Stored(packed.conditions, self.device, self.placement), own))

    def seek(self, position: int) -> None:
        """Set the position to `position` drawn images, from where the next minibatch is taken.

        Raises:
            ValueError: it is no count.
        """
        check_like(position, 0, "position")
        self.position = position

    def next(self) -> Batch:
        """Draw this process's part of the next minibatches.

        Returns:
            images (batch_size / world_size, C, H, W), float32 in [−1, 1] and channels_last, or vectors; with their
            labels and conditions, where there are any; all on the device.
        """
        position = self.position
        spans = [self._own_spans(own, position) for _, own in self._parts]
        tensors = [stored.next(position, drawn) for (stored, _), drawn in zip(self._parts, spans, strict=True)]
        batch = self._batch(tensors, spans[0])
        self.position += self.batch_size
        for stored, own in self._parts:
            stored.read_ahead(self.position, self._own_spans(own, self.position))
        return batch

    def drawn_at(self, position: int) -> Batch:
        """Return the samples, labels and conditions that all processes together draw at a position, on the device."""
        spans = [own.spans(position, self.batch_size) for _, own in self._parts]
        tensors = [stored.at(drawn) for (stored, _), drawn in zip(self._parts, spans, strict=True)]
        return self._batch(tensors, spans[0])

    def _batch(self, tensors: list[Tensor], spans: _Spans) -> Batch:
        labels = None if self._labels is None else self._labels.index_select(0, _order(spans, on_device=True))
        return Batch(tensors[0], labels, tensors[1] if len(tensors) > 1 else None)

    def _own_spans(self, permutations: _Permutations, position: int) -> _Spans:
        """Return the spans of permutations that make up this process's share of the minibatches at a position."""
        return [span for offset in self._offsets for span in permutations.spans(position + offset, self._share)]


def batch_advice(samples: int, minibatches: int) -> str:
    """Return what to do where a step of so many minibatches takes more than there is."""
    fits = samples // minibatches
    if fits:
        return f"set trainer.batch_size to {fits} or less"
    return f"no trainer.batch_size is small enough for the {minibatches} minibatches of a step: add samples"


def _order(spans: _Spans, *, on_device: bool = False) -> Tensor:
    return torch.cat([(epoch.order_on_device if on_device else epoch.order)[part] for epoch, part in spans])


def _mirror(pixels: Tensor, spans: _Spans) -> Tensor:
    """Flip those images (n, H, W, C) of these spans left to right that are mirrored."""
    parts = [epoch.mirrored[part] for epoch, part in spans if epoch.mirrored is not None]
    if not parts:
        return pixels
    mirrored = torch.cat(parts)
    if pixels.device.type != "cpu":  # to know how many they are would wait for the device
        return torch.where(mirrored[:, None, None, None], pixels.flip(2), pixels)
    which = mirrored.nonzero().squeeze(1)
    taken = torch.arange(len(pixels))
    taken[which] = torch.arange(len(pixels), len(pixels) + len(which))
    return torch.cat([pixels, pixels.index_select(0, which).flip(2)]).index_select(0, taken)


def large_map(array: npt.NDArray[Any]) -> mmap.mmap | None:
    """Return the map that an array is the whole of, where it takes advice and is larger than a quarter of the memory.

    None for any other array.
    """
    pages = array.base if isinstance(array, np.memmap) else None
    large = hasattr(mmap.mmap, "madvise") and array.nbytes > _SHARE_OF_MEMORY * physical_memory()
    return pages if large and isinstance(pages, mmap.mmap) else None


def _pinned(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    return torch.empty(shape, dtype=dtype, pin_memory=True)


def _place(
    packed: PackedDataset, device: torch.device, wanted: Literal["auto", "host", "device"]
) -> Literal["host", "device"]:
    if device.type != "cuda":
        return "host" if wanted == "auto" else wanted
    free, _ = torch.cuda.mem_get_info(device)
    if wanted == "device" and packed.nbytes > free:
        raise RequestError(
            f'dataset.placement is "device": the pack takes {packed.nbytes / 1e9:.2f} GB, '
            f'and {free / 1e9:.2f} GB are free on {device}: set it to "auto" or "host"'
        )
    if wanted != "auto":
        return wanted
    return "device" if packed.nbytes < free / 2 else "host"


def _mapped(array: npt.NDArray[Any]) -> Tensor:
    """Return a tensor of the memory map; uint16 as int16 of the same bits, which torch has more kernels for."""
    if array.dtype == np.uint16:
        array = array.view(np.int16)
    with warnings.catch_warnings():
        # The map is read-only and torch has no such tensors; nothing here writes to it.
        warnings.filterwarnings("ignore", message=".*not writable.*", category=UserWarning)
        return torch.from_numpy(array)


def _generator(seed: int, epoch: int, purpose: str) -> torch.Generator:
    digest = hashlib.sha256(f"{purpose} {seed} {epoch}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
