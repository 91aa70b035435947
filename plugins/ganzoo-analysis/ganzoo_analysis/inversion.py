"""Inversion: the point of a generator's latent space whose image is nearest to a given one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Unpack

import torch
from torch import Tensor

from ganzoo.plugin import RequestError, TrainedRun
from ganzoo.sampling.generate import batch_norm_mode, batch_norm_used
from ganzoo.sampling.image_io import save_tensors
from ganzoo_analysis.figures import Panel, save_figure
from ganzoo_analysis.latent_space import describe, require_label, require_latents
from ganzoo_analysis.points import SamplingOptions, Space, has_styles, in_space, inputs_of, samples_at

AT_ONCE = 32
"""Images that are inverted together; with fixed statistics of batch norm none depends on the others."""
CANDIDATES = 512
"""Random points, the nearest of which an image's search begins at."""


@dataclass(frozen=True)
class Inversion:
    """Images, and the points that were found for them.

    Attributes:
        names: of the images.
        images: (N, C, H, W) in [−1, 1].
        reconstructions: (N, C, H, W), what the generator makes of the points.
        distances: (N,), the L2 norm of the difference of an image and its reconstruction.
        points: (N, …) in `space`.
        space: "latents", or "styles" where the generator has these.
        about: how they were found.
    """

    names: Sequence[str]
    images: Tensor
    reconstructions: Tensor
    distances: Tensor
    points: Tensor
    space: Space
    about: Mapping[str, object]

    def save(self, folder: Path) -> list[Path]:
        """Write `NAME.png`, the image beside its reconstruction, and `NAME.safetensors`, its point; return all paths.

        Raises:
            OutputError: one cannot be written.
        """
        written = []
        for index, name in enumerate(self.names):
            row, distance = slice(index, index + 1), f"{self.distances[index].item():.2f}"
            about = {**self.about, "image": name, "distance": distance}
            panels = [Panel(self.images[row], 1, "image"), Panel(self.reconstructions[row], 1, distance)]
            written += [folder / f"{name}.png", folder / f"{name}.safetensors"]
            save_figure(panels, written[-2], about=about)
            save_tensors({self.space: self.points[row]}, written[-1], about=about)
        return written


def invert(
    run: TrainedRun,
    images: Tensor,
    names: Sequence[str] | None = None,
    *,
    steps: int = 500,
    rate: float = 0.05,
    seed: int = 0,
    space: Space | None = None,
    progress: Callable[[int], None] | None = None,
    **options: Unpack[SamplingOptions],
) -> Inversion:
    """Find the point of each image by Adam on the mean squared difference of pixels.

    The search begins at the nearest of 512 random points, its rate falls to 0 as a cosine, and the nearest point that
    it came through is taken.

    Args:
        run: a trained run.
        images: (N, C, H, W) in [−1, 1].
        names: of the images; default: their numbers.
        steps: of the search.
        rate: of Adam, in standard deviations of a random point's numbers.
        seed: of the random points, and of noise that the generator draws itself.
        space: "latents" or "styles"; default: styles where the generator has these.
        progress: called after each step with how many were taken; the images take theirs 32 at a time.
        options: label, weights, batch_norm.

    Raises:
        RequestError: the generator has no latents or no such space, the label does not fit it, or each of its images
            depends on the others.
    """
    require_latents(run)
    require_label(run, options)
    generator, label = run.generator_with(options.get("weights", "auto")), options.get("label")
    mode = options.get("batch_norm") or run.recipe.samples.batch_norm
    if batch_norm_used(generator, mode) == "batch":
        raise RequestError(
            f"{run.path}: with the statistics of each batch an image depends on the others, so that it has no point "
            "of its own: take --batch-norm running or standing"
        )
    space = space or ("styles" if has_styles(generator) else "latents")
    device = next(generator.parameters()).device
    candidates = in_space(run, run.latents(CANDIDATES, seed), space, **options).to(device)
    inputs = {name: rows.to(device) for name, rows in inputs_of(run, CANDIDATES, label).items()}
    rate = rate * candidates.std().item()

    def made(points: Tensor) -> Tensor:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            return samples_at(generator, points, space, {name: rows[: len(points)] for name, rows in inputs.items()})

    shown = generator.clipped
    counted = count(1)

    def stepped() -> None:
        if progress is not None:
            progress(next(counted))

    found: list[tuple[Tensor, Tensor]] = []
    with batch_norm_mode(generator, mode, inputs):
        with torch.no_grad():
            drawn = torch.cat([shown(made(part)).flatten(1).cpu() for part in torch.split(candidates, AT_ONCE)])
        for part in torch.split(images, AT_ONCE):
            nearest = torch.cdist(part.flatten(1), drawn).argmin(1)
            begin = candidates[nearest.to(device)]
            found.append(_descend(made, shown, begin, part.to(device), steps, rate, stepped))
    points, reconstructions = (torch.cat(parts) for parts in zip(*found, strict=True))
    return Inversion(
        names=list(names) if names is not None else [str(number) for number in range(len(images))],
        images=images,
        reconstructions=reconstructions,
        distances=(images - reconstructions).flatten(1).norm(dim=1),
        points=points,
        space=space,
        about=describe(run, options, seed=seed, steps=steps, space=space),
    )


def rounds(count: int) -> int:
    """Return how often `invert` takes its steps for so many images."""
    return -(-count // AT_ONCE)


def _descend(
    made: Callable[[Tensor], Tensor],
    shown: Callable[[Tensor], Tensor],
    points: Tensor,
    images: Tensor,
    steps: int,
    rate: float,
    stepped: Callable[[], None],
) -> tuple[Tensor, Tensor]:
    """Return the points of a descent from `points` whose images are the nearest as `shown`, and these, on the CPU."""
    points = points.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([points], lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(steps, 1))
    least = torch.full((len(points),), torch.inf, device=points.device)
    best, nearest = points.detach().clone(), torch.zeros_like(images)
    for step in range(steps + 1):
        samples = made(points)
        pictures = shown(samples.detach())
        errors = (pictures - images).square().flatten(1).mean(1)
        nearer = errors < least
        least = torch.where(nearer, errors, least)
        for kept, now in ((best, points.detach()), (nearest, pictures)):
            kept[nearer] = now[nearer]
        if step < steps:  # down the error of samples before they are clipped, which would have no gradient there
            error = (samples - images).square().flatten(1).mean(1).sum()
            (points.grad,) = torch.autograd.grad(error, points)
            optimizer.step()
            schedule.step()
            stepped()
    return best.cpu(), nearest.cpu()
