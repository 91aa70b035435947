"""Batch statistics of a network averaged over many batches of real images, and fixed for as long as they are needed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ganzoo.components.dataset import StoredImages
from ganzoo.components.network import Discriminator
from ganzoo.data.packed_dataset import real_images

BATCH = 128
MOST_BATCHES = 100


def training_batches(packed: StoredImages, seed: int = 0) -> Iterator[Tensor]:
    """Whole batches of 128 images (N, C, H, W) in [−1, 1] in a random order, 100 at most; one where it is smaller."""
    order = torch.randperm(len(packed), generator=torch.Generator().manual_seed(seed))
    for part in torch.split(order, BATCH)[:MOST_BATCHES]:
        if len(part) == BATCH or len(packed) < BATCH:
            yield real_images(packed, part)


@contextmanager
def standing_statistics(
    network: nn.Module, batches: Iterable[Tensor], look: Callable[[Tensor], Any] | None = None
) -> Iterator[None]:
    """Have the batch norms of `network` use the mean of their statistics over `batches`, and put all back afterwards.

    This is how the authors of DCGAN took the features of their SVHN discriminator: the mean and the (biased)
    variance of each batch, normalized by its own statistics up to there, averaged over the batches. It serves norms
    that keep no running statistics as well as those that do. The network is in evaluation mode in the meantime.

    Args:
        network: with batch norms, or without, when nothing is changed but its mode.
        batches: images (N, C, H, W) in [−1, 1], on any device.
        look: what is done with a batch; left out: a discriminator's `features`, another network's output. Norms that
            are not reached stay as they are.
    """
    if look is None:
        look = network.features if isinstance(network, Discriminator) else network
    modes = {module: module.training for module in network.modules()}
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    before = [(norm.track_running_stats, norm.running_mean, norm.running_var) for norm in norms]
    network.eval()
    try:
        for norm, (mean, variance) in _mean_statistics(network, norms, batches, look).items():
            norm.running_mean, norm.running_var = mean, variance
        for norm, (tracks, *_) in zip(norms, before, strict=True):
            norm.track_running_stats = tracks or norm.running_mean is not None
            norm.eval()
        yield
    finally:
        for norm, saved in zip(norms, before, strict=True):
            norm.track_running_stats, norm.running_mean, norm.running_var = saved
        for module, training in modes.items():
            module.training = training


@torch.no_grad()
def _mean_statistics(
    network: nn.Module, norms: list[_BatchNorm], batches: Iterable[Tensor], look: Callable[[Tensor], Any]
) -> dict[_BatchNorm, tuple[Tensor, Tensor]]:
    """Mean and variance (C,) for each norm that is reached."""
    if not norms:
        return {}
    sums: dict[_BatchNorm, tuple[Any, Any, int]] = {}

    def add(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(module, _BatchNorm)
        channels = inputs[0].transpose(0, 1).flatten(1).float()
        variance, mean = torch.var_mean(channels, 1, correction=0)
        before = sums.get(module, (0.0, 0.0, 0))
        # Summed on the CPU: not every accelerator knows double precision.
        sums[module] = before[0] + mean.cpu().double(), before[1] + variance.cpu().double(), before[2] + 1

    device = next(network.parameters()).device
    hooks = [norm.register_forward_pre_hook(add) for norm in norms]
    try:
        for norm in norms:
            # In training and without running statistics a norm uses those of the batch and changes nothing.
            norm.track_running_stats = False
            norm.train()
        for batch in batches:
            look(batch.to(device))
    finally:
        for hook in hooks:
            hook.remove()
    return {
        norm: ((mean / count).float().to(device), (variance / count).float().to(device))
        for norm, (mean, variance, count) in sums.items()
    }
