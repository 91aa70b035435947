"""Data loader: an endless, seekable stream of shuffled minibatches of a packed dataset, on the device."""

from __future__ import annotations

import hashlib
import math
import warnings
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ganzoo.components.dataset import Batch
from ganzoo.data.mmap_prefetch import prefetcher_for
from ganzoo.data.packed_dataset import PackedDataset
from ganzoo.errors import DataError, RequestError
from ganzoo.runtime.restored import check_like


def steps_for_epochs(epochs: float, images: int, batch_size: int) -> int:
    """Return the number of minibatches in `epochs` epochs of `images` images, rounded up."""
    return math.ceil(epochs * images / batch_size)


@dataclass(frozen=True)
class _Epoch:
    """A permutation of the images, and which of them are mirrored; on the CPU and on the device."""

    order: Tensor
    order_on_device: Tensor
    mirrored: Tensor | None


class Loader:
    """Endless minibatches: one permutation of the images after the other, cut every `batch_size` images.

    Every image comes exactly once an epoch and none is dropped; a minibatch may straddle two epochs.
    The images at a position depend on (seed, position) alone, so the position is the whole state to save,
    and `seek` restores it exactly, whatever the placement or the number of processes.

    Args:
        packed: the images.
        batch_size: images drawn together, over all processes.
        minibatches: number of equal minibatches among them, as a training step may take several.
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
                f"the dataset has {len(packed)} images and trainer.batch_size is {minibatch}{each}: "
                f"set trainer.batch_size to {len(packed) // minibatches} or less"
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
        self._seed = seed
        self._horizontal_flip = horizontal_flip
        self._share = minibatch // world_size
        self._offsets = [rank * self._share + number * minibatch for number in range(minibatches)]
        self._position = 0
        self._epochs: dict[int, _Epoch] = {}
        self._pixels = _mapped(packed)
        if self.placement == "device":
            self._pixels = self._pixels.to(self.device, copy=True)
        self._labels = None if packed.labels is None else torch.from_numpy(packed.labels).to(self.device)
        # Only a GPU computes while the next minibatch is gathered; on a CPU a thread would take its cores.
        reads_ahead = self.device.type == "cuda" and self.placement == "host"
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="ganzoo-loader") if reads_ahead else None
        self._ahead: tuple[int, Future[Tensor]] | None = None
        self._prefetcher = prefetcher_for(packed) if self.placement == "host" else None

    @property
    def position(self) -> int:
        """Number of images drawn so far, over all processes."""
        return self._position

    @property
    def epoch(self) -> float:
        """Number of epochs drawn so far, as a fraction."""
        return self._position / len(self.packed)

    @property
    def steps_per_epoch(self) -> int:
        """Number of minibatches in an epoch, rounded up."""
        return steps_for_epochs(1, len(self.packed), self.batch_size)

    def seek(self, position: int) -> None:
        """Set the position to `position` drawn images, from where the next minibatch is taken.

        Raises:
            ValueError: it is no count.
        """
        check_like(position, 0, "position")
        self._position = position

    def next(self) -> Batch:
        """Draw this process's part of the next minibatches.

        Returns:
            images (batch_size / world_size, C, H, W), float32 in [−1, 1] and channels_last; labels int64
            or None; both on the device.
        """
        spans = self._own_spans()
        batch = self._batch(spans, self._gather(spans))
        self._position += self.batch_size
        self._read_ahead()
        return batch

    def drawn_at(self, position: int) -> Batch:
        """Return the images and labels that all processes together draw at a position, on the device."""
        spans = self._spans(position, self.batch_size)
        order = self._order(spans, on_device=self.placement == "device")
        return self._batch(spans, self._pixels.index_select(0, order).to(self.device))

    def _batch(self, spans: list[tuple[_Epoch, slice]], pixels: Tensor) -> Batch:
        labels = None if self._labels is None else self._labels.index_select(0, self._order(spans, on_device=True))
        mirrored = self._mirrored(spans)
        if mirrored is not None:
            pixels = _mirror(pixels, mirrored)
        # The pack is (N, H, W, C), so the permuted view is channels_last as it stands. To multiply is faster than to
        # divide, and 1 / 127.5 is such that 0 and 255 still give -1 and 1 exactly.
        images = pixels.permute(0, 3, 1, 2).to(torch.float32).sub_(127.5).mul_(1 / 127.5)
        return Batch(images, labels)

    def _gather(self, spans: list[tuple[_Epoch, slice]]) -> Tensor:
        """Return the pixels (n, H, W, C) uint8 of these images, on the device."""
        if self.placement == "device":
            return self._pixels.index_select(0, self._order(spans, on_device=True))
        if self._reader is None:
            return self._pixels.index_select(0, self._order(spans)).to(self.device)
        ahead, self._ahead = self._ahead, None
        if ahead is not None and ahead[0] == self._position:
            pinned = ahead[1].result()
        else:
            pinned = self._gather_pinned(self._order(spans))
        return pinned.to(self.device, non_blocking=True)

    def _read_ahead(self) -> None:
        if self._prefetcher is None and self._reader is None:
            return
        order = self._order(self._own_spans())
        if self._prefetcher is not None:
            self._prefetcher.prefetch(order)
        if self._reader is not None:
            self._ahead = (self._position, self._reader.submit(self._gather_pinned, order))

    def _gather_pinned(self, order: Tensor) -> Tensor:
        # Torch keeps pinned memory in a pool and hands none out again before its copy to the device is done.
        return torch.index_select(self._pixels, 0, order, out=_pinned((len(order), *self._pixels.shape[1:])))

    def _own_spans(self) -> list[tuple[_Epoch, slice]]:
        """Return the spans of permutations that make up this process's share of the next minibatches."""
        return [span for offset in self._offsets for span in self._spans(self._position + offset, self._share)]

    def _spans(self, start: int, length: int) -> list[tuple[_Epoch, slice]]:
        """Return the spans of permutations that make up a range of positions."""
        spans, end = [], start + length
        while start < end:
            number, first = divmod(start, len(self.packed))
            count = min(end - start, len(self.packed) - first)
            spans.append((self._epoch(number), slice(first, first + count)))
            start += count
        return spans

    def _order(self, spans: list[tuple[_Epoch, slice]], *, on_device: bool = False) -> Tensor:
        return _joined([(epoch.order_on_device if on_device else epoch.order)[part] for epoch, part in spans])

    def _mirrored(self, spans: list[tuple[_Epoch, slice]]) -> Tensor | None:
        parts = [epoch.mirrored[part] for epoch, part in spans if epoch.mirrored is not None]
        return _joined(parts) if parts else None

    def _epoch(self, number: int) -> _Epoch:
        if number not in self._epochs:
            # Drawn on the CPU whatever the device, so that all devices and processes see one order.
            order = torch.randperm(len(self.packed), generator=_generator(self._seed, number, "order"))
            mirrored = None
            if self._horizontal_flip:
                coins = torch.rand(len(self.packed), generator=_generator(self._seed, number, "mirror"))
                mirrored = (coins < 0.5).to(self.device)
            epoch = _Epoch(order, order.to(self.device), mirrored)
            # A minibatch, and the one read ahead, touch two epochs that follow each other, no more.
            self._epochs = {n: e for n, e in self._epochs.items() if n == number - 1} | {number: epoch}
        return self._epochs[number]


def _mirror(pixels: Tensor, mirrored: Tensor) -> Tensor:
    """Flip those images (n, H, W, C) left to right whose entry in `mirrored` (n,) is true."""
    count = len(pixels)
    taken = torch.arange(count, device=pixels.device)
    if pixels.device.type == "cpu":
        which = mirrored.nonzero().squeeze(1)
        taken[which] = torch.arange(count, count + len(which))
        flipped = pixels.index_select(0, which).flip(2)
    else:  # to know how many they are would wait for the device
        taken = taken + count * mirrored
        flipped = pixels.flip(2)
    return torch.cat([pixels, flipped]).index_select(0, taken)


def _pinned(shape: tuple[int, ...]) -> Tensor:
    return torch.empty(shape, dtype=torch.uint8, pin_memory=True)


def _place(
    packed: PackedDataset, device: torch.device, wanted: Literal["auto", "host", "device"]
) -> Literal["host", "device"]:
    if device.type != "cuda":
        return "host" if wanted == "auto" else wanted
    free, _ = torch.cuda.mem_get_info(device)
    if wanted == "device" and packed.images.nbytes > free:
        raise RequestError(
            f'dataset.placement is "device": the pack takes {packed.images.nbytes / 1e9:.2f} GB, '
            f'and {free / 1e9:.2f} GB are free on {device}: set it to "auto" or "host"'
        )
    if wanted != "auto":
        return wanted
    return "device" if packed.images.nbytes < free / 2 else "host"


def _mapped(packed: PackedDataset) -> Tensor:
    with warnings.catch_warnings():
        # The map is read-only and torch has no such tensors; nothing here writes to it.
        warnings.filterwarnings("ignore", message=".*not writable.*", category=UserWarning)
        return torch.from_numpy(packed.images)


def _generator(seed: int, epoch: int, purpose: str) -> torch.Generator:
    digest = hashlib.sha256(f"{purpose} {seed} {epoch}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)
