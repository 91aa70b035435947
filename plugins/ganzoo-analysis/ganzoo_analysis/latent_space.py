"""Pictures of the latent space of a trained run: a numbered grid, interpolation, arithmetic and directions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

import torch
from torch import Tensor

from ganzoo.plugin import RequestError
from ganzoo.sampling.trained_run import TrainedRun
from ganzoo_analysis import latent_math
from ganzoo_analysis.figures import Panel, save_animation, save_figure
from ganzoo_analysis.points import (
    CELLS,
    Point,
    SamplingOptions,
    Space,
    in_space,
    name_of,
    points_of,
    samples_of_styles,
)


@dataclass(frozen=True)
class LatentGrid:
    """The numbered grid: images (100, C, H, W) in [−1, 1], cell i made from latent i."""

    images: Tensor
    about: Mapping[str, object]

    def save(self, path: Path) -> None:
        """Write the images with their numbers, ten a row, as a PNG."""
        captions = [str(number) for number in range(len(self.images))]
        save_figure([Panel(self.images, 10, captions=captions)], path, about=self.about)


@dataclass(frozen=True)
class Walks:
    """Walks in latent space: images (R, S, C, H, W) in [−1, 1] and latents (R, S, D), S steps of each of R walks."""

    images: Tensor
    latents: Tensor
    about: Mapping[str, object]

    def save(self, path: Path) -> None:
        """Write a PNG with a row for each walk, or, as a .gif, an animation of all at once, there and back.

        Raises:
            RequestError: `path` ends in neither.
        """
        check_suffix(path, (".png", ".gif"))
        rows, steps = self.images.shape[:2]
        if path.suffix.lower() == ".png":
            save_figure([Panel(self.images.flatten(0, 1), steps)], path, about=self.about)
            return
        columns = round(rows**0.5)
        there = [Panel(self.images[:, step], columns) for step in range(steps)]
        save_animation([*there, *reversed(there[1:-1])], path, about=self.about)


@dataclass(frozen=True)
class Arithmetic:
    """Images of a − b + c, in [−1, 1].

    Attributes:
        exemplars: (K, C, H, W) of each concept, named "a", "b" and "c".
        means: (1, C, H, W) of the mean latent of each.
        result: (9, C, H, W): in the middle that of a − b + c, around it those nearby.
        latent: a − b + c (D,).
        picked: the cells or files of each concept.
        spread: of the noise.
        about: how they were made.
    """

    exemplars: Mapping[str, Tensor]
    means: Mapping[str, Tensor]
    result: Tensor
    latent: Tensor
    picked: Mapping[str, Sequence[Point]]
    spread: float
    about: Mapping[str, object]

    def save(self, path: Path) -> None:
        """Write a PNG: a column for each concept, its exemplars above their mean, then the result."""
        columns = [
            Panel(torch.cat([self.exemplars[name], self.means[name]]), 1, title, self._captions(name))
            for name, title in (("a", "a"), ("b", "- b"), ("c", "+ c"))
        ]
        save_figure([*columns, Panel(self.result, 3, f"= result, ±{self.spread:g}")], path, about=self.about)

    def _captions(self, concept: str) -> list[str]:
        """Name each exemplar, some of which may be several in one file, and the mean."""
        picked, count = self.picked[concept], len(self.exemplars[concept])
        return [*(map(name_of, picked) if len(picked) == count else [""] * count), "mean"]


def latent_grid(run: TrainedRun, *, seed: int = 0, **options: Unpack[SamplingOptions]) -> LatentGrid:
    """Sample a grid of 100 numbered images to pick exemplars from.

    Raises:
        RequestError: the generator takes a condition, or the label does not fit it.
    """
    require_latents(run)
    return LatentGrid(images_of(run, run.latents(CELLS, seed), options), describe(run, options, seed=seed))


def interpolate(
    run: TrainedRun,
    *,
    steps: int = 10,
    rows: int = 8,
    method: latent_math.Method = "spherical",
    seed: int = 0,
    start: Sequence[Point] | None = None,
    end: Sequence[Point] | None = None,
    seeds: Sequence[int] | None = None,
    **options: Unpack[SamplingOptions],
) -> Walks:
    """Interpolate between latents (paper, fig. 4): each row begins where the one above ends.

    Args:
        run: a trained run.
        steps: images of each walk, both ends included.
        rows: how many walks, through `rows` + 1 random latents.
        method: "spherical", or "linear", natural for a generator with a uniform prior; see `latent_math.walk`. Walks
            through styles are straight.
        seed: of the random latents, or of the grid that `start` and `end` number.
        start: cells of the numbered grid, or files of `ganzoo invert`, where walks begin; with `end`, instead of
            random ones.
        end: cells or files where they end, one for each of `start`.
        seeds: walk through the first latent of each of these seeds, instead.
        options: label, weights, batch_norm; without a label a conditional generator takes class after class by row.

    Raises:
        RequestError: the cells do not pair, are not on the grid, or the label does not fit the generator.
    """
    require_latents(run)
    if steps < 2 or rows < 1:
        raise RequestError(f"{rows} walks of {steps} steps: take at least 1 walk of 2 steps")
    run.check_memory(rows * steps)
    space: Space = "latents"
    if seeds is not None and (start is not None or end is not None):
        raise RequestError("give either seeds or the cells to walk from and to, not both")
    if seeds is not None:
        if len(seeds) < 2:
            raise RequestError(f"seeds {list(seeds)}: a walk needs two or more")
        ends = latent_math.pairs(torch.cat([run.latents(1, one) for one in seeds]))
        chosen: dict[str, object] = {"seeds": list(seeds)}
    elif start is not None or end is not None:
        (*both,), space = points_of(run, [start or (), end or ()], seed, **options)
        if not len(both[0]) or len(both[0]) != len(both[1]):
            raise RequestError(f"walks from cells {_named(start)} to cells {_named(end)}: give as many ends as starts")
        ends = both[0], both[1]
        chosen = {"seed": seed, "from": _named(start), "to": _named(end)}
    else:
        ends = latent_math.pairs(run.latents(rows + 1, seed))
        chosen = {"seed": seed}
    if space == "styles":
        method = "linear"
    return _walks(run, latent_math.walk(*ends, steps, method), options, space, method=method, **chosen)


def arithmetic(
    run: TrainedRun,
    a: Sequence[Point],
    b: Sequence[Point],
    c: Sequence[Point],
    *,
    seed: int = 0,
    spread: float = 0.25,
    **options: Unpack[SamplingOptions],
) -> Arithmetic:
    """Sample mean(a) − mean(b) + mean(c) (paper, fig. 7), such as smiling woman − woman + man.

    Args:
        run: a trained run.
        a: cells of the numbered grid, or files of `ganzoo invert`, that show the first concept; the paper takes three.
        b: as many cells of the concept to take away.
        c: as many of the one to add.
        seed: of the grid, and of the noise.
        spread: the eight images around the result have uniform noise of ±spread on every number of its latent.
        options: label, weights, batch_norm.

    Raises:
        RequestError: a cell is not on the grid, the counts differ, the label does not fit the generator, or `spread`
            makes latents that are not finite.
    """
    require_latents(run)
    picked = {"a": a, "b": b, "c": c}
    groups, space = points_of(run, [*picked.values()], seed, **options)
    latents = dict(zip(picked, groups, strict=True))
    counts = {len(one) for one in groups}
    if len(counts) > 1 or 0 in counts:
        told = ", ".join(f"{name} has {len(one)}" for name, one in latents.items())
        raise RequestError(f"each concept needs as many exemplars, three in the paper: {told}")
    require_label(run, options)
    result = latent_math.combine(**latents)
    nearby = latent_math.around(result, spread=spread, rng=torch.Generator().manual_seed(seed))
    check_finite(nearby, "--spread", spread)
    parts = [*latents.values(), *(one.mean(0, keepdim=True) for one in latents.values()), nearby]
    images = torch.split(images_of(run, torch.cat(parts), options, space=space), [len(part) for part in parts])
    return Arithmetic(
        exemplars=dict(zip(picked, images[:3], strict=True)),
        means=dict(zip(picked, images[3:6], strict=True)),
        result=images[6],
        latent=result,
        picked=picked,
        spread=spread,
        about=describe(run, options, seed=seed, spread=spread, **{name: _named(one) for name, one in picked.items()}),
    )


def direction(
    run: TrainedRun,
    left: Sequence[Point],
    right: Sequence[Point],
    *,
    steps: int = 9,
    rows: int = 8,
    strength: float = 1.0,
    seed: int = 0,
    **options: Unpack[SamplingOptions],
) -> Walks:
    """Move random latents along mean(left) − mean(right) (paper, fig. 8, where it turns faces).

    Args:
        run: a trained run.
        left: cells of the numbered grid, or files of `ganzoo invert`, that show one pose; the paper averages four.
        right: cells that show the other.
        steps: images of each row.
        rows: how many random latents, of the seed after `seed`, so that none is on the grid.
        strength: rows go from −strength to +strength times the vector; the middle of an odd row is the latent itself.
        seed: of the grid.
        options: label, weights, batch_norm.

    Raises:
        RequestError: a cell is not on the grid, a pose has none, the label does not fit the generator, or `strength`
            makes latents that are not finite.
    """
    require_latents(run)
    if steps < 2 or rows < 1:
        raise RequestError(f"{rows} rows of {steps} steps: take at least 1 row of 2 steps")
    run.check_memory(rows * steps)
    if not left or not right:
        raise RequestError("each pose needs at least one cell, four in the paper")
    require_label(run, options)
    poses, space = points_of(run, [left, right], seed, **options)
    following = 0 if seed == 2**63 - 1 else seed + 1  # after the largest of all
    begin = in_space(run, run.latents(rows, following), space, **options)
    moved = latent_math.along(begin, latent_math.direction(*poses), steps, strength)
    check_finite(moved, "--strength", strength)
    return _walks(run, moved, options, space, seed=seed, left=_named(left), right=_named(right), strength=strength)


def check_finite(latents: Tensor, option: str, value: float) -> None:
    """Raise RequestError unless latents that a value of an option gave are finite numbers."""
    if not latents.isfinite().all():
        raise RequestError(f"{option} {value}: makes latents that are not finite: give a smaller, finite number")


def check_suffix(path: Path, allowed: Sequence[str]) -> None:
    """Raise RequestError unless the suffix of `path` is one of `allowed`."""
    if path.suffix.lower() not in allowed:
        raise RequestError(f"{path}: give a file that ends in {' or '.join(allowed)}")


def _named(points: Sequence[Point] | None) -> list[int | str]:
    return [str(point) if isinstance(point, Path) else point for point in points or ()]


def _walks(
    run: TrainedRun, latents: Tensor, options: SamplingOptions, space: Space = "latents", **more: object
) -> Walks:
    rows, steps = latents.shape[:2]
    images = images_of(run, latents.flatten(0, 1), options, each=steps, space=space)
    return Walks(images.view(rows, steps, *images.shape[1:]), latents, describe(run, options, **more))


def images_of(
    run: TrainedRun, latents: Tensor, options: SamplingOptions, each: int = 1, space: Space = "latents"
) -> Tensor:
    """Sample images of the requested label, or of class after class, `each` of one before the next.

    Args:
        run: a trained run.
        latents: (N, latent_dim), or styles (N, …) where `space` says so.
        options: label, weights, batch_norm.
        each: how many of one class come before the next.
        space: of `latents`.

    Raises:
        UnfitDataError: the generator makes vectors.
    """
    _ = run.image
    label = options.get("label")
    labels = run.labels(len(latents) // each, None if label is None else [label])
    labels = None if labels is None else labels.repeat_interleave(each, 0)
    weights, batch_norm = options.get("weights", "auto"), options.get("batch_norm")
    if space == "styles":
        mode = batch_norm or run.recipe.samples.batch_norm
        return samples_of_styles(run.generator_with(weights), latents, labels, mode)
    return run.images(latents, labels, weights=weights, batch_norm=batch_norm)


def require_latents(run: TrainedRun) -> None:
    """Raise RequestError for a generator with a condition, whose images its latents alone do not make."""
    if "condition" in run.generator.uses:
        raise RequestError(f"{run.path}: the generator makes its images from others, and has no latent of an image")


def require_label(run: TrainedRun, options: SamplingOptions) -> None:
    """Raise RequestError without a label for a conditional generator, whose latents compare only within a class."""
    if "labels" in run.generator.uses and options.get("label") is None:
        if (labels := run.info.labels) and labels.kind != "classes":
            raise RequestError(
                f"{run.path}: the generator is conditional: give a label, {labels} with commas between them "
                f"({labels.first_names})"
            )
        last = run.info.num_classes - 1
        raise RequestError(
            f"{run.path}: the generator is conditional: give a label, a class index from 0 to {last} "
            f"or a name: {run.told_classes()}"
        )


def describe(run: TrainedRun, options: SamplingOptions, **more: object) -> Mapping[str, object]:
    """Return how images with `options` are made, for the metadata of their files."""
    label = options.get("label")
    classes = run.told_classes(None if label is None else [label])
    noted = {"label": label} if label is not None else {}
    noted |= {"classes": classes} if classes else {}
    return run.about(weights=options.get("weights", "auto"), batch_norm=options.get("batch_norm"), **noted, **more)
