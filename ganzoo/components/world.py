"""The processes that train one run together, in torch.distributed's words; here there is one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

import torch
from torch import Tensor, nn

T = TypeVar("T")


class World:
    """A world of one process; `ganzoo.runtime.distributed.DistributedWorld` has those that torchrun starts.

    Each process takes an equal part of every minibatch, in the order of `rank`, and all take the same step: every one
    calls each of these methods as often as the others, in the same order.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    """Rank among the processes of this machine."""
    local_world_size: int = 1
    """Number of processes on this machine."""
    in_step: bool = False
    """Whether a training step is being taken, in which all take part."""

    @property
    def is_main(self) -> bool:
        """Whether this is rank 0, which alone writes the run directory and prints."""
        return self.rank == 0

    def all_reduce_mean_(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its mean over all processes, in place and outside of autograd."""

    def all_reduce_mean(self, value: Tensor) -> Tensor:
        """Return the mean of `value` over all processes; differentiable any number of times."""
        return value

    def all_gather(self, rows: Tensor) -> Tensor:
        """Concatenate `rows` (n, …) of all processes to (n · world_size, …), in batch order; differentiable."""
        return rows

    def sharded_rng(self, rng: torch.Generator, rows: int) -> AbstractContextManager[object]:
        """While open, draws from `rng` are this process's share of what one process would draw.

        A tensor whose first dimension is `rows`, the images of the minibatch here, or any number above 1, has one row
        for each image; any other tensor is the same in all processes.
        """
        return nullcontext()

    # The methods below are for the training loop.

    def connected(self, device: torch.device) -> AbstractContextManager[None]:
        """Keep the process group open; tensors are exchanged on `device`."""
        return nullcontext()

    def convert_sync_batchnorm(self, modules: Iterable[nn.Module]) -> None:
        """Have each batch norm within `modules` take its statistics over all processes in a training step."""

    def local_main_first(self) -> AbstractContextManager[None]:
        """Let one process of each machine run the body first, then the others."""
        return nullcontext()

    def broadcast_object(self, value: T) -> T:
        """Return the value of the main process in all processes."""
        return value

    def all_reduce_signal(self, signal: int | None) -> int | None:
        """Return a signal that any of the processes received; waits for all of them."""
        return signal
