"""Generation of images, and the statistics that batch norm takes: running, of the batch or standing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ganzoo.components.network import Generator, evaluation_mode
from ganzoo.errors import RequestError
from ganzoo.runtime.device import fp32_products

BatchNormMode = Literal["auto", "running", "batch", "standing"]
Inputs = Mapping[str, Tensor]
"""Labels and conditions as `Network.inputs` returns them."""

STANDING_BATCHES = 64
BATCH_SIZE = 64


def generate(
    generator: Generator,
    latents: Tensor,
    labels: Tensor | None = None,
    condition: Tensor | None = None,
    *,
    batch_norm: BatchNormMode = "auto",
    batch_size: int = BATCH_SIZE,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Generate samples (N, …), fp32 on the CPU, from latents (N, latent_dim).

    Args:
        generator: its mode and batch statistics are restored.
        latents: on any device.
        labels: (N,) or (N, K), where the generator uses labels.
        condition: (N, …), where the generator uses a condition.
        batch_norm: source of the batch-norm statistics, see `batch_norm_mode`.
        batch_size: images generated at a time. "batch" statistics are always of so many: a smaller batch is
            filled up with images from latents of a fixed seed.
        progress: called after each batch with how many are generated and how many there will be.
    """
    made: list[Tensor] = []
    for batch in generate_batches(generator, latents, labels, condition, batch_norm=batch_norm, batch_size=batch_size):
        made.append(batch.cpu())
        if progress is not None:
            progress(min(len(made) * batch_size, len(latents)), len(latents))
    return torch.cat(made).contiguous()


@torch.no_grad()  # rather than inference mode, whose tensors a caller could neither train on nor change
def generate_batches(
    generator: Generator,
    latents: Tensor,
    labels: Tensor | None = None,
    condition: Tensor | None = None,
    *,
    batch_norm: BatchNormMode = "auto",
    batch_size: int = BATCH_SIZE,
) -> Iterator[Tensor]:
    """Yield the images of `generate` batch by batch, on the generator's device, so that not all are held at once.

    The generator is in evaluation mode until the last batch is taken.
    """
    device = next(generator.parameters()).device
    count = len(latents)
    inputs: Inputs = generator.inputs(labels, condition)
    if batch_norm_used(generator, batch_norm) == "batch" and count % batch_size:
        latents, inputs = _pad(generator, latents, inputs, batch_size - count % batch_size)
    with batch_norm_mode(generator, batch_norm, inputs):
        for start in range(0, count, batch_size):
            part = slice(start, start + batch_size)
            with fp32_products(device):
                samples: Tensor = generator(
                    latents[part].to(device), **{name: rows[part].to(device) for name, rows in inputs.items()}
                )
            samples = samples.float()[: count - start]
            yield generator.clipped(samples)


def _pad(generator: Generator, latents: Tensor, inputs: Inputs, missing: int) -> tuple[Tensor, Inputs]:
    """Append `missing` latents from the prior, with labels and conditions drawn from the given ones."""
    rng = torch.Generator().manual_seed(0)
    latents = torch.cat([latents, generator.sample_latents(missing, rng).to(latents.device)])
    drawn = _drawn(inputs, missing, rng)
    return latents, {name: torch.cat([rows, drawn[name]]) for name, rows in inputs.items()}


def made_together(generator: Generator, count: int, mode: BatchNormMode) -> int:
    """Return how many images to generate so that the first `count` are the same for any count.

    The statistics of a batch depend on every image of it, and standing ones on which classes there are, or on the
    conditions of the first images.
    """
    used = batch_norm_used(generator, mode)
    if used == "batch":
        return -(-count // BATCH_SIZE) * BATCH_SIZE
    if used == "standing" and generator.uses:
        return max(count, len(generator.info.class_names) if _takes_classes_alone(generator) else BATCH_SIZE)
    return count


def _takes_classes_alone(generator: Generator) -> bool:
    return generator.uses == {"labels"} and bool(generator.info.class_names)


def _drawn(inputs: Inputs, count: int, rng: torch.Generator) -> Inputs:
    """Return `count` of the given labels and conditions, drawn with replacement."""
    if not inputs:
        return {}
    chosen = torch.randint(len(next(iter(inputs.values()))), (count,), generator=rng)
    return {name: rows[chosen.to(rows.device)] for name, rows in inputs.items()}


def batch_norm_used(module: nn.Module, mode: BatchNormMode) -> str:
    """Return the mode in effect for this network: "running", "batch", "standing", or "none" without batch norm.

    A batch norm without running statistics always uses those of the batch.

    Raises:
        RequestError: there is no such mode.
    """
    if mode not in get_args(BatchNormMode):
        raise RequestError(f'batch_norm is "{mode}": give one of {", ".join(get_args(BatchNormMode))}')
    norms = [child for child in module.modules() if isinstance(child, _BatchNorm)]
    if not norms:
        return "none"
    if not all(norm.track_running_stats for norm in norms):
        return "batch"
    return "running" if mode == "auto" else mode


@contextmanager
def batch_norm_mode(module: nn.Module, mode: BatchNormMode, inputs: Inputs | None = None) -> Iterator[None]:
    """Put `module` into evaluation mode with the batch-norm statistics of `mode`; restore it on exit.

    "running" uses the averages accumulated in training, "batch" the statistics of each batch as in training,
    "standing" averages over 64 batches of 64 random latents from its prior with the present weights
    (BigGAN, arXiv 1809.11096, appendix); it needs a `Generator`.
    """
    norms = [child for child in module.modules() if isinstance(child, _BatchNorm)]
    before = [(norm.track_running_stats, norm.momentum, dict(norm._buffers)) for norm in norms]
    with evaluation_mode(module):
        tracking: list[_BatchNorm] = []
        if mode in ("standing", "batch"):
            module.train()  # norms that stay in evaluation mode are of a network that does not learn
            tracking = [norm for norm in norms if norm.track_running_stats and norm.training]
            module.eval()
        try:
            if mode == "standing" and tracking:
                assert isinstance(module, Generator)
                _gather_standing_statistics(module, tracking, inputs or {})
            elif mode == "batch":
                for norm in tracking:
                    norm.track_running_stats = False
                    norm.train()
            yield
        finally:
            for norm, (tracks, momentum, buffers) in zip(norms, before, strict=True):
                norm.track_running_stats, norm.momentum = tracks, momentum
                norm._buffers.update(buffers)


@torch.no_grad()
def _gather_standing_statistics(generator: Generator, norms: list[_BatchNorm], inputs: Inputs) -> None:
    """Set the running statistics to the mean over 64 batches from latents of a fixed seed."""
    device = next(generator.parameters()).device
    rng = torch.Generator().manual_seed(0)
    if _takes_classes_alone(generator) and inputs:  # each as often, whatever the number of images
        inputs = {"labels": inputs["labels"].unique(dim=0)}  # type: ignore[no-untyped-call]
    else:
        inputs = {name: rows[:BATCH_SIZE] for name, rows in inputs.items()}
    for norm in norms:
        norm._buffers.update({name: buffer.clone() for name, buffer in norm.named_buffers()})
        norm.reset_running_stats()
        norm.momentum = None  # a cumulative mean
        norm.train()
    with fp32_products(device):
        for _ in range(STANDING_BATCHES):
            latents = generator.sample_latents(BATCH_SIZE, rng).to(device)
            drawn = _drawn(inputs, BATCH_SIZE, rng)
            generator(latents, **{name: rows.to(device) for name, rows in drawn.items()})
    for norm in norms:
        norm.eval()
