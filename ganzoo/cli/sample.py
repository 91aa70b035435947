"""`ganzoo sample`: images from a trained run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ganzoo.cli.options import RunFolder, WhichNetwork, WhichStatistics, WhichStep, WhichWeights, make_folder
from ganzoo.errors import RequestError


def sample(
    run: RunFolder,
    out: Annotated[Path, typer.Option(help="A .png file for one grid, or a folder for single images.")],
    count: Annotated[
        int | None, typer.Option(min=1, help="How many images, with --input of each; default: 64, with --input 1.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same images.")] = 0,
    labels: Annotated[str | None, typer.Option(help="Class indices for a conditional generator: 3 or 0,1,2.")] = None,
    input_: Annotated[
        Path | None, typer.Option("--input", help="An image, or a folder of images, for a generator with a condition.")
    ] = None,
    step: WhichStep = None,
    network: WhichNetwork = None,
    weights: WhichWeights = "auto",
    batch_norm: WhichStatistics = None,
) -> None:
    """Make images from a trained run: one grid, or a folder of single ones; from inputs, named after these."""
    from ganzoo import api
    from ganzoo.sampling.image_io import grid_beside, save_grid, save_picture, save_single_images

    trained = api.load_run(run, step=step, network=network)
    names, condition = (None, None) if input_ is None else api.read_inputs(trained, input_)
    check_output(out)
    each = 1 if condition is None or count is None else count
    if each > 1 and not trained.generator.config.latent_dim:
        raise RequestError(f"--count {each}: the generator draws no latents, so it makes one image of each input")
    if names is not None and condition is not None and each > 1:
        names = [f"{name}_{number:0{len(str(each - 1))}d}" for name in names for number in range(each)]
        condition = condition.repeat_interleave(each, 0)
    if condition is not None:
        count = len(condition)
    images = trained.sample(
        count, seed=seed, weights=weights, labels=_indices(labels), condition=condition, batch_norm=batch_norm
    )
    about = trained.about(weights=weights, batch_norm=batch_norm, seed=seed)
    if not out.suffix:
        save_single_images(images, out, names, about=about)
    elif condition is not None and condition.ndim == images.ndim:
        outputs = images.view(-1, each, *images.shape[1:]).unbind(1)
        save_picture(grid_beside(condition[::each], *outputs), out, about=about)
    else:
        save_grid(images, out, about=about)
    typer.echo(out)


def check_output(out: Path) -> None:
    """Say at once, before any work, that `out` cannot be written.

    Raises:
        RequestError: it is a file of a kind that is not made, or its folder cannot be there.
    """
    if out.suffix and out.suffix.lower() != ".png":
        raise RequestError(f"--out {out}: give a file that ends in .png, or a folder")
    make_folder(out.parent if out.suffix else out, out)


def _indices(labels: str | None) -> list[int] | None:
    if labels is None:
        return None
    try:
        return [int(label) for label in labels.split(",")]
    except ValueError:
        raise RequestError(f"--labels {labels}: give class indices with commas between, such as 0,1,2") from None
