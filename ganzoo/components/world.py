"""The processes that train one run together: what a trainer or penalty says to the others; here, nobody."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

import torch
from torch import Tensor, nn

T = TypeVar("T")


class Processes:
    """A single process; `ganzoo.runtime.distributed` has the several that torchrun starts.

    Each of `count` processes takes an equal part of every minibatch, in the order of `rank`, and all take the
    same step: every one calls each of these methods as often as the others, in the same order.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    """Which of the processes on this machine."""
    local_count: int = 1
    """How many there are on this machine."""
    in_step: bool = False
    """Whether a training step is being taken, in which all take part."""

    @property
    def first(self) -> bool:
        """Whether this is the process that owns the run directory and talks to people."""
        return self.rank == 0

    def average_(self, tensors: Sequence[Tensor]) -> None:
        """Put the mean over all processes in the place of each tensor; outside of autograd."""

    def mean(self, value: Tensor) -> Tensor:
        """The mean of `value` over all processes, through which gradients flow, those of gradients too."""
        return value

    def gather(self, rows: Tensor) -> Tensor:
        """`rows` (n, …) of all processes, (n · count, …), in the order of the minibatch; gradients flow through."""
        return rows

    def drawing(self, rng: torch.Generator, rows: int) -> AbstractContextManager[object]:
        """While open, what is drawn from `rng` is this process's part of what one process would draw.

        Tensors whose first dimension is `rows`, the images of the minibatch here, or any number above 1, count as
        one row for each image; others are the same in all processes.
        """
        return nullcontext()

    # What follows is for the engine.

    def connected(self, device: torch.device) -> AbstractContextManager[None]:
        """While open, the processes can talk; tensors are exchanged on `device`."""
        return nullcontext()

    def join_batch_norms(self, modules: Iterable[nn.Module]) -> None:
        """Have each batch norm within `modules` take its statistics over all processes in a training step."""

    def one_of_each_machine_first(self) -> AbstractContextManager[None]:
        """One process of each machine goes in; the others follow when it is through."""
        return nullcontext()

    def tell(self, value: T) -> T:
        """What the first process has, in all of them."""
        return value

    def agree(self, signal: int | None) -> int | None:
        """A signal that any of the processes got."""
        return signal
