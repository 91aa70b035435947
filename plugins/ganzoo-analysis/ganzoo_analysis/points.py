"""Points of the latent space of a run: cells of its numbered grid, or files that `ganzoo invert` wrote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ganzoo.plugin import Generator, RequestError, TrainedRun
from ganzoo.sampling.generate import BATCH_SIZE, BatchNormMode, batch_norm_mode
from ganzoo.sampling.trained_run import Weights

Point = int | Path
"""A cell of the numbered grid, or a file."""
Space = Literal["latents", "styles"]
CELLS = 100
"""Images in the numbered grid; with the same seed, a cell always has the same latent."""
SUFFIX = ".safetensors"


class SamplingOptions(TypedDict, total=False):
    """Sampling options of the functions of this package.

    `label` is the class of a conditional generator, by name or index, or its attributes or values as "0.5,1", and must
    be left out for any other. `weights` and `batch_norm` are those of `TrainedRun.images`.
    """

    label: int | str | None
    weights: Weights
    batch_norm: BatchNormMode | None


def has_styles(generator: Generator) -> bool:
    """Return whether a generator has an intermediate latent space."""
    return hasattr(generator, "to_style") and hasattr(generator, "from_style")


def points_of(
    run: TrainedRun, groups: Sequence[Sequence[Point]], seed: int = 0, **options: Unpack[SamplingOptions]
) -> tuple[list[Tensor], Space]:
    """Return the points (N, D) of each group, in the space that all of them are in: styles if one file holds these.

    Raises:
        RequestError: there is no such cell, or a file holds no points of this run's generator.
    """
    read = {path: _read(path) for group in groups for path in group if isinstance(path, Path)}
    space: Space = "styles" if any(found == "styles" for found, _ in read.values()) else "latents"
    chosen = [each for group in groups for each in group if not isinstance(each, Path)]
    if off := [cell for cell in chosen if not 0 <= cell < CELLS]:
        raise RequestError(f"cell {off[0]} is not on the grid: cells are numbered from 0 to {CELLS - 1}")
    grid = in_space(run, run.latents(CELLS, seed), space, **options) if chosen else torch.empty(0)

    def points(point: Point) -> Tensor:
        if not isinstance(point, Path):
            return grid[point][None]
        found, held = read[point]
        own = in_space(run, run.latents(1), found, **options)
        if held.shape[1:] != own.shape[1:] or not held.isfinite().all():
            raise RequestError(
                f"{point}: holds {found} of shape {tuple(held.shape[1:])}, and the generator of {run.path} takes "
                f"{tuple(own.shape[1:])}: take a file of this run's"
            )
        return held.float() if found == space else in_space(run, held.float(), space, **options)

    return [torch.cat([points(each) for each in group]) if group else torch.empty(0) for group in groups], space


def in_space(run: TrainedRun, latents: Tensor, space: Space, **options: Unpack[SamplingOptions]) -> Tensor:
    """Return latents as they are, or as the styles that the generator makes of them.

    Raises:
        RequestError: the generator has no styles.
    """
    generator: Any = run.generator_with(options.get("weights", "auto"))
    if space == "latents":
        return latents
    if not has_styles(generator):
        raise RequestError(f'{run.path}: the generator "{run.generator.config.name}" has no styles')
    device = next(generator.parameters()).device
    inputs = inputs_of(run, len(latents), options.get("label"))
    with torch.no_grad():
        styles: Tensor = generator.to_style(latents.to(device), **{key: row.to(device) for key, row in inputs.items()})
    return styles.float().cpu()


def inputs_of(run: TrainedRun, count: int, label: int | str | None) -> Mapping[str, Tensor]:
    """Return the keywords of the generator for so many samples of one class."""
    return run.generator.inputs(run.labels(count, None if label is None else [label]))


def samples_at(generator: Any, points: Tensor, space: Space, inputs: Mapping[str, Tensor]) -> Tensor:
    """Return the samples at points, unclipped, all on the generator's device; differentiable in the points."""
    made: Tensor = (generator.from_style if space == "styles" else generator)(points, **inputs)
    return made.float()


@torch.no_grad()
def samples_of_styles(generator: Generator, styles: Tensor, labels: Tensor | None, batch_norm: BatchNormMode) -> Tensor:
    """Generate samples (N, …), fp32 on the CPU, from styles (N, …)."""
    device = next(generator.parameters()).device
    inputs = generator.inputs(labels)
    made = []
    with batch_norm_mode(generator, batch_norm, inputs):
        for start in range(0, len(styles), BATCH_SIZE):
            part = slice(start, start + BATCH_SIZE)
            rows = {name: each[part].to(device) for name, each in inputs.items()}
            made.append(generator.clipped(samples_at(generator, styles[part].to(device), "styles", rows)).cpu())
    return torch.cat(made)


def name_of(point: Point) -> str:
    """Return what a picture calls a point."""
    return point.stem if isinstance(point, Path) else str(point)


def _read(path: Path) -> tuple[Space, Tensor]:
    if not path.is_file():  # to open a pipe would wait for ever
        raise RequestError(f"{path}: is no file of points: it is missing, or something else than a file")
    try:
        with safe_open(path, "pt") as file:
            held = [name for name in file.keys() if name in ("latents", "styles")]  # noqa: SIM118 - no mapping
            if held:
                return held[0], file.get_tensor(held[0])
    except (OSError, SafetensorError) as error:
        raise RequestError(f"{path}: is no file of points: {error}") from error
    raise RequestError(f"{path}: holds no latents and no styles: take a file that `ganzoo invert` wrote")
