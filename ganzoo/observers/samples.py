"""Write grids of samples from fixed latents during a run, and an animation of them at its end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import numpy as np
from PIL import Image
from torch import Tensor

from ganzoo.components.network import Generator
from ganzoo.components.observer import RunView
from ganzoo.data.packed_dataset import seen_by
from ganzoo.errors import OutputError
from ganzoo.registry.hookspecs import hookimpl
from ganzoo.runtime.random_state import seeded_generators
from ganzoo.sampling.generate import batch_norm_used, generate, made_together
from ganzoo.sampling.image_io import (
    GIF,
    grid_beside,
    grid_step,
    grids,
    open_picture,
    picture_of,
    real_points,
    save_gif,
    save_picture,
)
from ganzoo.terminal import warn

FRAME_MS = 200
LAST_FRAME_MS = 2000
MAX_FRAMES = 100
MAX_SIDE = 1024
"""Longest side of the animation in pixels."""


class SampleWriter:
    """Writes `samples/step_0001000.png` on schedule and `samples/evolution.gif` at the end; fires `samples_ready`."""

    def __init__(self) -> None:
        self._warned = False
        self._made_at: int | None = None

    @hookimpl
    def run_started(self, run: RunView) -> None:
        """Remove the grids that a resumed run makes again."""
        if run.resumed_from is not None:
            for path in grids(run.directory.samples):
                if grid_step(path) > run.resumed_from:
                    path.unlink()

    @hookimpl
    def step_ended(self, run: RunView, step: int) -> None:
        """Make a grid on schedule and at the last step."""
        if step % run.recipe.samples.interval(run.total_steps) == 0 or run.ending:
            self._make(run, step)

    @hookimpl
    def metrics_evaluated(self, run: RunView) -> None:
        """Make a grid where scores end the run."""
        if run.ending:
            self._make(run, run.step)

    def _make(self, run: RunView, step: int) -> None:
        if self._made_at == step:
            return
        self._made_at = step
        images, options = fixed_samples(run), run.recipe.samples
        shown = fixed_grid(run, images)
        about = {
            "run": run.recipe.run.name,
            "step": run.step,
            "seed": run.recipe.run.seed,
            "weights": run.weights_name(options.weights),
            "batch_norm": batch_norm_used(cast("Generator", run.networks["generator"]), options.batch_norm),
        }
        if run.sample_classes:
            about["classes"] = run.sample_classes
        if shown is None and not self._warned:
            warn(f"no pictures of samples: these are vectors of {run.info.samples}; ganzoo sample writes them as .npy")
            self._warned = True
        with self._surviving():
            if shown is not None:
                save_picture(shown, run.directory.samples / f"step_{step:07d}.png", about=about)
        run.fire("samples_ready", step=step, images=images, grid=shown)

    @hookimpl
    def run_ended(self, run: RunView) -> None:
        """Make the animation of all grids, those of earlier parts of a resumed run included.

        Not in an interrupted run: it takes seconds, and the run will be resumed.
        """
        paths = grids(run.directory.samples)
        if run.recipe.samples.gif and paths and run.status != "interrupted":
            with self._surviving():
                write_animation(paths, run.directory.samples / GIF)

    @contextmanager
    def _surviving(self) -> Iterator[None]:
        """Warn once of a failure to write, and go on: a missing picture does not end a run."""
        try:
            yield
        except OutputError as error:
            if not self._warned:
                warn(f"samples are missing: {error}")
            self._warned = True


def fixed_samples(run: RunView) -> Tensor:
    """Generate samples, on the CPU, from the run's fixed latents, without affecting training."""
    options = run.recipe.samples
    generator = run.sampling_generator(options.weights)
    # A generator may draw noise of its own: from the seed here, without affecting training.
    made = made_together(generator, options.count, options.batch_norm)
    examples = run.fixed_examples(made)
    with seeded_generators(run.recipe.run.seed):
        images = generate(
            generator,
            run.fixed_latents(made),
            run.fixed_labels(made) if examples is None else examples.labels,
            None if examples is None else examples.condition,
            batch_norm=options.batch_norm,
        )
    return images[: options.count].clone()  # not an inference tensor


def fixed_grid(run: RunView, images: Tensor) -> Tensor | None:
    """Return the picture (C, H', W') in [0, 1] of `fixed_samples`; None for vectors of more or less than two numbers.

    Where images have a condition, it shows input, output and target; points of two dimensions lie over the real ones.
    """
    bands = run.recipe.samples.bands
    examples = run.fixed_examples(len(images)) if images.ndim == 4 else None
    if examples is None or examples.condition is None or examples.condition.ndim != images.ndim:
        return picture_of(images, lambda: real_points(seen_by("generator", run.dataset, run.recipe.trainer)), bands)
    paired = run.dataset.paired
    return grid_beside(examples.condition, images, *([examples.real] if paired else []), bands=bands)


def write_animation(paths: Sequence[Path], target: Path) -> None:
    """Write an animated GIF of at most 100 of the pictures, evenly taken, the last one held longer.

    Pictures that cannot be read, or are of another size than the newest, are left out.

    Raises:
        OutputError: it cannot be written, or no picture can be read.
    """
    places = np.linspace(0, len(paths) - 1, min(len(paths), MAX_FRAMES)).round().astype(int)
    frames = _frames([paths[place] for place in places])
    if not frames:
        raise OutputError(f"none of the {len(paths)} pictures in {paths[0].parent} can be read")
    save_gif(frames, target, milliseconds=[FRAME_MS] * (len(frames) - 1) + [LAST_FRAME_MS])


def _frames(paths: Sequence[Path]) -> list[Image.Image]:
    """Read the pictures, oldest first, each with its own palette."""
    frames = []
    for path in paths:
        try:
            with open_picture(path, "PNG") as file:
                picture = file.convert("RGB")
        except Exception:  # PIL raises errors of many kinds at a damaged file
            warn(f"{path}: cannot be read and is left out of {GIF}")
            continue
        size = picture.size
        picture.thumbnail((MAX_SIDE, MAX_SIDE))
        frames.append((size, picture.quantize(256)))
    return [frame for size, frame in frames if size == frames[-1][0]]
