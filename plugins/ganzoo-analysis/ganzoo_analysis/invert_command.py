"""`ganzoo invert`: the point of latent space whose image is nearest to a given one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ganzoo.cli.options import (
    Overwrite,
    RunFolder,
    WhichStatistics,
    WhichWeights,
    check_folder,
    echo,
    echo_path,
    seed_option,
)
from ganzoo.plugin import RequestError, count_progress
from ganzoo_analysis.latent_commands import Label


def invert(
    run: RunFolder,
    images: Annotated[Path, typer.Option(help="An image, or a folder of images.")],
    out: Annotated[Path, typer.Option(help="A folder: two files for each image.")],
    steps: Annotated[int, typer.Option(min=0, help="Number of optimization steps.")] = 500,
    rate: Annotated[
        float, typer.Option(min=0, max=1e6, help="Adam's learning rate, in standard deviations of a random point.")
    ] = 0.05,
    space: Annotated[
        Literal["auto", "latents", "styles"], typer.Option(help="Where to search; auto: styles where there are any.")
    ] = "auto",
    seed: Annotated[int, seed_option("Seed of the random points that the search begins at.")] = 0,
    label: Label = None,
    weights: WhichWeights = "auto",
    batch_norm: WhichStatistics = None,
    overwrite: Overwrite = False,
) -> None:
    """Find the latents of images by optimization; writes each beside its reconstruction, and its latent as a file.

    `ganzoo interpolate`, `arithmetic` and `direction` take these files in place of cells. A distance is the L2 norm of
    the difference of two images in [−1, 1].

    Example: ganzoo invert runs/dcgan-digits/0001 --images faces --out inverted
    """
    if out.suffix:
        raise RequestError(f"--out {out}: give a folder")
    from ganzoo import api
    from ganzoo_analysis import inversion

    trained = api.load_run(run)
    names, given = api.read_images(trained, images)
    check_folder(out, overwrite=overwrite)
    total = steps * inversion.rounds(len(given))
    with count_progress(what="inverting, step") as progress:
        found = inversion.invert(
            trained,
            given,
            names,
            steps=steps,
            rate=rate,
            seed=seed,
            space=None if space == "auto" else space,
            progress=lambda done: progress(done, total),
            label=label,
            weights=weights,
            batch_norm=batch_norm,
        )
    for name, distance in zip(found.names, found.distances.tolist(), strict=True):
        echo(f"{name}: {distance:.2f}")
    found.save(out)
    echo_path(out)
