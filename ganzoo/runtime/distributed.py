"""Training in several processes started by torchrun: connection, collectives, batch norm, and the loss of one."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]
from torch.nn.modules.batchnorm import _BatchNorm

from ganzoo.components.world import World
from ganzoo.errors import LostProcessError, RequestError, first_line
from ganzoo.runtime.cpu_kernels import contiguous_view
from ganzoo.runtime.random_state import ShardedRNG

STEP_TIMEOUT = timedelta(minutes=10)
"""Timeout of a collective within a step."""
BETWEEN_STEPS_TIMEOUT = timedelta(hours=12)
"""Timeout of a collective between steps, while the main process evaluates, writes or decodes."""
BUCKET_LIMIT = 2**16
"""Tensors with fewer elements are reduced together in one bucket."""

VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")

T = TypeVar("T")


class DistributedWorld(World):
    """The processes that torchrun started, on one machine or several, seen from one of them.

    It has two process groups: one for tensors within a step, with a short timeout, and one for Python objects between
    steps, with a long one. The end of a process is noticed at once in both.
    """

    def __init__(self, rank: int, world_size: int, local_rank: int, local_world_size: int) -> None:
        self.rank, self.world_size = rank, world_size
        self.local_rank, self.local_world_size = local_rank, local_world_size
        self._between_steps: Any = None

    @contextmanager
    def connected(self, device: torch.device) -> Iterator[None]:
        """Keep the process groups open; tensors are exchanged on `device`.

        Raises:
            RequestError: the processes cannot connect.
        """
        on_gpu = device.type == "cuda"
        try:
            store = _store()
            session = store.add(f"rank {self.rank}", 1)  # a program may train one run after the other
            dist.init_process_group(
                "cpu:gloo,cuda:nccl" if on_gpu else "gloo",
                store=PrefixStore(f"session {session}", store),
                rank=self.rank,
                world_size=self.world_size,
                timeout=STEP_TIMEOUT,
                device_id=device if on_gpu else None,
            )
            self._between_steps = dist.new_group(backend="gloo", timeout=BETWEEN_STEPS_TIMEOUT)
        except (RuntimeError, ValueError) as error:
            raise RequestError(
                f"the {self.world_size} processes do not find each other: {_in_short(error)}; start them with "
                "torchrun, on each machine with the same --rdzv-endpoint"
            ) from error
        yield
        dist.destroy_process_group()  # only after a good end: with one of them gone, this could wait for it

    def all_reduce_mean_(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its mean over all processes, in place and outside of autograd."""
        flat = [contiguous_view(tensor).view(-1) for tensor in tensors]
        small = [tensor for tensor in flat if len(tensor) < BUCKET_LIMIT]
        packed = torch.cat(small) if small else torch.empty(0)
        sent = [packed, *(tensor for tensor in flat if len(tensor) >= BUCKET_LIMIT)]
        self.all_reduce_sum_(sent)
        torch._foreach_div_(sent, self.world_size)
        if small:
            torch._foreach_copy_(small, torch.split(packed, [len(tensor) for tensor in small]))

    def all_reduce_mean(self, value: Tensor) -> Tensor:
        """Return the mean of `value` over all processes; differentiable any number of times."""
        return _sum(value, self) / self.world_size

    def all_gather(self, rows: Tensor) -> Tensor:
        """Concatenate `rows` (n, …) of all processes to (n · world_size, …), in batch order; differentiable."""
        whole = [torch.zeros_like(rows)] * self.world_size
        whole[self.rank] = rows
        return _sum(torch.cat(whole), self)

    def sharded_rng(self, rng: torch.Generator, rows: int) -> AbstractContextManager[object]:
        """While open, draws from `rng` are this process's share of what one process would draw."""
        return ShardedRNG(rng, rows, self.rank, self.world_size)

    def convert_sync_batchnorm(self, modules: Iterable[nn.Module]) -> None:
        """Have torch's batch norms within `modules`, but no subclass, take their statistics over all processes."""
        for parent in [child for module in modules for child in module.modules()]:
            for name, child in parent.named_children():
                if isinstance(child, _BatchNorm) and type(child) in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d):
                    setattr(parent, name, SynchronizedBatchNorm(child, self))

    @contextmanager
    def local_main_first(self) -> Iterator[None]:
        """Let one process of each machine run the body first, then the others."""
        if self.local_rank != 0:
            self.all_reduce_signal(None)
        yield
        if self.local_rank == 0:
            self.all_reduce_signal(None)

    def all_reduce_signal(self, signal: int | None) -> int | None:
        """Return a signal that any of the processes received; waits for all of them."""
        received = torch.tensor(signal or 0)
        with reporting_lost_processes():
            dist.all_reduce(received, dist.ReduceOp.MAX, self._between_steps)
        return int(received) or None

    def broadcast_object(self, value: T) -> T:
        """Return the value of the main process in all processes."""
        values = [value]
        with reporting_lost_processes():
            dist.broadcast_object_list(values, src=0, group=self._between_steps)
        return values[0]

    def broadcast_(self, tensors: Sequence[Tensor]) -> None:
        """Replace the tensors, of any dtype, by those of the main process; outside of autograd."""
        parts = [tensor.detach().reshape(-1).view(torch.uint8) for tensor in tensors]
        packed = torch.cat(parts)
        with reporting_lost_processes():
            dist.broadcast(packed, src=0)
        for tensor, part in zip(tensors, torch.split(packed, [len(part) for part in parts]), strict=True):
            tensor.copy_(part.clone().view(tensor.dtype).view_as(tensor))  # a view of its own, for its alignment

    def all_reduce_extremes(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Return the largest and the smallest of each of `values` (n,) over all processes."""
        both = torch.cat([values, -values])
        with reporting_lost_processes():
            dist.all_reduce(both, dist.ReduceOp.MAX)
        most, least = both.chunk(2)
        return most, -least

    def all_reduce_sum_(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor, all of which are contiguous, by its sum over all processes."""
        with reporting_lost_processes():
            for work in [dist.all_reduce(tensor, async_op=True) for tensor in tensors]:
                work.wait()

    def __deepcopy__(self, memo: object) -> DistributedWorld:
        """Return itself: a copied network is in the same process."""
        return self


class _Sum(torch.autograd.Function):
    """Sum over all processes. Each summand is in the losses of all, so the backward pass sums gradients too."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, world: DistributedWorld) -> Tensor:
        ctx.world = world
        total = value.clone(memory_format=torch.contiguous_format)
        world.all_reduce_sum_([total])
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _sum(gradient, ctx.world), None


def _sum(value: Tensor, world: DistributedWorld) -> Tensor:
    return cast("Tensor", _Sum.apply(value, world))


class SynchronizedBatchNorm(_BatchNorm):
    """Batch norm with the statistics of the images of all processes, on any device.

    Torch's SyncBatchNorm needs CUDA and has no second derivative, which gradient penalties take.
    Outside of a training step, where the main process makes samples by itself, it is an ordinary batch norm.

    Args:
        norm: the batch norm whose weights, statistics and options it takes over.
        world: the processes.
    """

    def __init__(self, norm: _BatchNorm, world: World) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        self.weight, self.bias = norm.weight, norm.bias
        for name, buffer in norm.named_buffers():
            setattr(self, name, buffer)
        self.training = norm.training
        self._world = world

    def forward(self, images: Tensor) -> Tensor:
        """Normalize (N, C, …)."""
        if not self._world.in_step or not (self.training or self.running_mean is None):
            return super().forward(images)
        values = images.float()
        dims = [dim for dim in range(values.dim()) if dim != 1]
        mean, variance = self._statistics(values, dims)
        self._update_running(mean, variance, values.numel() // len(mean) * self._world.world_size)
        scale = torch.rsqrt(variance + self.eps)
        if self.weight is not None:
            scale = scale * self.weight
        shift = -mean * scale if self.bias is None else self.bias - mean * scale
        shape = [1 if dim in dims else -1 for dim in range(values.dim())]
        return torch.addcmul(shift.view(shape), values, scale.view(shape)).to(images.dtype)

    def _statistics(self, values: Tensor, dims: list[int]) -> tuple[Tensor, Tensor]:
        """Return mean and variance (C,) over all processes, in fp64 so that E x² − (E x)² is exact enough."""
        variance, mean = (each.double() for each in torch.var_mean(values, dims, correction=0))
        mean, square = self._world.all_reduce_mean(torch.stack([mean, variance + mean.square()]))
        return mean.float(), (square - mean.square()).float()

    @torch.no_grad()
    def _update_running(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """Update the running statistics with those of `count` values, as torch does."""
        if not self.training or self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        share = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance * (count / max(count - 1, 1)), share)

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002
        """Accept any dimension, since the replaced norm may have been of any."""


def world_from_env() -> World:
    """Return the world of this process by torchrun's environment variables: of one process without them."""
    if not os.environ.keys() >= {*VARIABLES, "MASTER_ADDR", "MASTER_PORT"} or os.environ["WORLD_SIZE"] == "1":
        return World()
    return DistributedWorld(*(int(os.environ[variable]) for variable in VARIABLES))


def is_error_reporter(seconds: float) -> bool:
    """Return whether this process reports the error that ended the run: exactly one of the world does.

    Rank 0 reports at once; another rank first gives it `seconds` to do so.
    """
    world, deadline = world_from_env(), time.monotonic() + seconds
    if world.world_size == 1:
        return True
    try:
        store = _store()
        while not world.is_main and not store.check(["reported"]) and time.monotonic() < deadline:
            time.sleep(0.1)
        return bool(store.add("reported", 1) == 1)
    except RuntimeError:  # the store is gone: better reported twice than not at all
        return True


def _store() -> PrefixStore:
    """Connect to torchrun's store, which outlives each of its processes."""
    server = TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), timeout=timedelta(seconds=30))
    return PrefixStore(f"ganzoo {os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", server)


@contextmanager
def reporting_lost_processes() -> Iterator[None]:
    """Turn an error of torch.distributed inside into a LostProcessError.

    Raises:
        LostProcessError: a process ended, or did not answer in time.
    """
    try:
        yield
    except RuntimeError as error:
        raise LostProcessError(
            f"another process of this run ended, or no longer answers ({_in_short(error)})"
        ) from error


def _in_short(error: BaseException) -> str:
    """Return the first sentence of an error, without the place in torch's source that it begins with."""
    return first_line(error).split("] ", 1)[-1].split(". ")[0]
