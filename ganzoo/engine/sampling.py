"""Images from a generator, with the statistics that batch norm uses made explicit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ganzoo.components.network import Generator


@torch.inference_mode()
def generate(
    generator: Generator,
    latents: Tensor,
    labels: Tensor | None = None,
    *,
    batch_norm: str = "running",
    batch_size: int = 64,
) -> Tensor:
    """Images (N, C, H, W) in [−1, 1], fp32 on the CPU, for latents (N, latent_dim).

    Args:
        generator: left as it was, its mode and batch statistics included.
        latents: on any device.
        labels: class indices (N,) where the generator is conditional.
        batch_norm: "running" statistics, or those of each "batch" of `batch_size` images made together.
        batch_size: how many images are made at a time.
    """
    device = next(generator.parameters()).device
    images = []
    with batch_norm_mode(generator, batch_norm):
        for start in range(0, len(latents), batch_size):
            part = slice(start, start + batch_size)
            chunk_labels = labels[part].to(device) if labels is not None else None
            images.append(generator(latents[part].to(device), chunk_labels).float().cpu())
    return torch.cat(images).contiguous()


@contextmanager
def batch_norm_mode(module: nn.Module, mode: str) -> Iterator[None]:
    """Put `module` into evaluation, its batch norms by `mode` ("running" or "batch"), and back afterwards.

    "batch" computes as in training, but leaves the running statistics as they are.
    """
    modes = {child: child.training for child in module.modules()}
    norms = [child for child in module.modules() if isinstance(child, _BatchNorm) and child.track_running_stats]
    saved = [(norm, norm.momentum, norm.num_batches_tracked) for norm in norms]
    module.eval()
    if mode == "batch":
        for norm in norms:
            norm.train()
            norm.momentum = 0.0  # running = 1 · running + 0 · batch
            norm.num_batches_tracked = None
    try:
        yield
    finally:
        for norm, momentum, tracked in saved:
            norm.momentum = momentum
            norm.num_batches_tracked = tracked
        for child, training in modes.items():
            child.training = training
