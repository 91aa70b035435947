"""`ganzoo sample`: images from a trained run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ganzoo.cli.options import RunFolder, WhichStatistics, WhichStep, WhichWeights, make_folder
from ganzoo.errors import RequestError


def sample(
    run: RunFolder,
    out: Annotated[Path, typer.Option(help="A .png file for one grid, or a folder for single images.")],
    count: Annotated[int, typer.Option(min=1, help="How many images.")] = 64,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same images.")] = 0,
    labels: Annotated[
        str | None, typer.Option(help="Classes for a conditional generator, by name or index: cat,dog or 0,1,2.")
    ] = None,
    step: WhichStep = None,
    weights: WhichWeights = "auto",
    batch_norm: WhichStatistics = None,
) -> None:
    """Make images from a trained run: one grid, or a folder of single ones."""
    from ganzoo import api
    from ganzoo.sampling.image_io import save_grid, save_single_images

    trained = api.load_run(run, step=step)
    check_output(out)
    images = trained.sample(
        count,
        seed=seed,
        weights=weights,
        labels=labels.split(",") if labels is not None else None,
        batch_norm=batch_norm,
    )
    about = trained.about(weights=weights, batch_norm=batch_norm, seed=seed)
    if out.suffix:
        save_grid(images, out, about=about)
    else:
        save_single_images(images, out, about=about)
    typer.echo(out)


def check_output(out: Path) -> None:
    """Say at once, before any work, that `out` cannot be written.

    Raises:
        RequestError: it is a file of a kind that is not made, or its folder cannot be there.
    """
    if out.suffix and out.suffix.lower() != ".png":
        raise RequestError(f"--out {out}: give a file that ends in .png, or a folder")
    make_folder(out.parent if out.suffix else out, out)
