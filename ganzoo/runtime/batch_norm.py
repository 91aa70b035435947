"""Batch norm over the whole minibatch of several processes, on any device and differentiable any number of times.

Torch's own SyncBatchNorm needs CUDA and has no second derivative, which gradient penalties take.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ganzoo.components.world import World


class SynchronizedBatchNorm(_BatchNorm):
    """Batch norm with the statistics of the images of all processes.

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


def synchronize_batch_norm(module: nn.Module, world: World) -> None:
    """Replace each of torch's batch norms within `module`, but no subclass, by a synchronized one."""
    for name, child in module.named_children():
        if isinstance(child, _BatchNorm) and type(child) in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d):
            setattr(module, name, SynchronizedBatchNorm(child, world))
        else:
            synchronize_batch_norm(child, world)
