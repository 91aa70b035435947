"""Batch norm with statistics averaged over batches of the training set, as the authors of DCGAN took features."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ganzoo.plugin import Discriminator, StoredImages, real_images
from ganzoo.sampling.generate import batch_norm_mode

BATCH_SIZE, BATCHES = 128, 100


def training_batches(packed: StoredImages, seed: int = 0) -> Iterator[Tensor]:
    """Yield up to 100 full batches of 128 images (N, C, H, W) in [−1, 1], shuffled; a smaller set as one batch.

    They are drawn from all of `packed`; the authors of DCGAN took every batch of their training images alone.
    """
    order = torch.randperm(len(packed), generator=torch.Generator().manual_seed(seed))
    for part in torch.split(order, BATCH_SIZE)[:BATCHES]:
        if len(part) == BATCH_SIZE or len(packed) < BATCH_SIZE:
            yield real_images(packed, part)


@contextmanager
def calibrated_batch_norm(
    network: nn.Module, batches: Iterable[Tensor], forward: Callable[[Tensor], Any] | None = None
) -> Iterator[None]:
    """While open, normalize by batch statistics averaged over `batches`; restore the network on exit.

    The authors of DCGAN took the features of their SVHN discriminator so: the mean and the (biased) variance of
    each batch, whose earlier layers are normalized by its own statistics, averaged over the batches. It works for
    norms with and without running statistics. The network is in evaluation mode meanwhile.

    Args:
        network: with or without batch norms.
        batches: images (N, C, H, W) in [−1, 1], on any device.
        forward: forward pass of a batch; default: a discriminator's `features`, another network's output. Norms that
            it does not reach stay as they are, and those of parts that never leave evaluation mode.
    """
    if forward is None:
        forward = network.features if isinstance(network, Discriminator) else network
    with batch_norm_mode(network, "batch"):
        statistics = _mean_statistics(network, batches, forward)
    with batch_norm_mode(network, "running"):
        for norm, (mean, variance) in statistics.items():
            norm.running_mean, norm.running_var = mean, variance
        yield


@torch.no_grad()
def _mean_statistics(
    network: nn.Module, batches: Iterable[Tensor], forward: Callable[[Tensor], Any]
) -> dict[_BatchNorm, tuple[Tensor, Tensor]]:
    """Return the mean and variance (C,) of each norm that `forward` reaches and that takes those of batches."""
    norms = [each for each in network.modules() if isinstance(each, _BatchNorm) and not each.track_running_stats]
    if not norms:
        return {}
    sums: dict[_BatchNorm, tuple[Any, Any, int]] = {}

    def add(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(module, _BatchNorm)
        channels = inputs[0].transpose(0, 1).flatten(1).float()
        variance, mean = torch.var_mean(channels, 1, correction=0)
        before = sums.get(module, (0.0, 0.0, 0))
        # Summed on the CPU, as not every accelerator has double precision.
        sums[module] = before[0] + mean.cpu().double(), before[1] + variance.cpu().double(), before[2] + 1

    device = next(network.parameters()).device
    hooks = [norm.register_forward_pre_hook(add) for norm in norms]
    try:
        for batch in batches:
            forward(batch.to(device))
    finally:
        for hook in hooks:
            hook.remove()
    return {
        norm: ((mean / count).float().to(device), (variance / count).float().to(device))
        for norm, (mean, variance, count) in sums.items()
    }
