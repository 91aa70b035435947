"""`ganzoo cells`, `interpolate`, `arithmetic` and `turn`: the latent space of a trained run in pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ganzoo.errors import RequestError

RunFolder = Annotated[Path, typer.Argument(help="A run directory.")]
Picture = Annotated[Path, typer.Option(help="A .png file.")]
PictureOrFilm = Annotated[Path, typer.Option(help="A .png file, or a .gif for a film.")]
GridSeed = Annotated[int, typer.Option(min=0, help="Of the numbered grid: the same seed, the same cells.")]
Label = Annotated[int | None, typer.Option(help="Class index for a conditional generator.")]
WhichStep = Annotated[
    int | None, typer.Option("--step", min=0, help="Of the checkpoint to take; default: the last one's.")
]
WhichWeights = Annotated[Literal["auto", "ema", "raw"], typer.Option(help="auto: ema where there is one.")]
WhichStatistics = Annotated[
    Literal["auto", "running", "batch", "standing"] | None,
    typer.Option(help="Statistics of batch norm; default: as the recipe says."),
]


def add_to(app: typer.Typer) -> None:
    """Add this module's commands to `app`."""
    app.command("cells")(cells)
    app.command("interpolate")(interpolate)
    app.command("arithmetic")(arithmetic)
    app.command("turn")(turn)


def cells(
    run: RunFolder,
    out: Picture,
    seed: GridSeed = 0,
    label: Label = None,
    weights: WhichWeights = "auto",
    batch_norm: WhichStatistics = None,
) -> None:
    """Draw a grid of 100 numbered images, to pick the cells that the other commands take."""
    from ganzoo import api, explore

    trained = api.load_run(run)
    check_file(out, ".png")
    explore.cells(trained, seed=seed, label=label, weights=weights, batch_norm=batch_norm).save(out)
    typer.echo(out)


def interpolate(
    run: RunFolder,
    out: PictureOrFilm,
    seed: Annotated[int, typer.Option(min=0, help="Of the random latents, or of the numbered grid.")] = 0,
    start: Annotated[
        str | None, typer.Option("--from", help="Cells of the numbered grid to walk from: 3 or 3,17.")
    ] = None,
    end: Annotated[str | None, typer.Option("--to", help="Cells to walk to, one for each of --from.")] = None,
    seeds: Annotated[str | None, typer.Option(help="Walk through the first latent of each of these seeds.")] = None,
    steps: Annotated[int, typer.Option(min=2, help="Images of each walk.")] = 10,
    rows: Annotated[int, typer.Option(min=1, help="Walks, where they lead through random latents.")] = 8,
    method: Annotated[
        Literal["spherical", "linear"], typer.Option(help="linear is natural for a uniform prior.")
    ] = "spherical",
    label: Label = None,
    weights: WhichWeights = "auto",
    batch_norm: WhichStatistics = None,
) -> None:
    """Walk from latent to latent, a row each; a .gif shows all the walks at once, there and back."""
    walk_start, walk_end, walk_seeds = numbers("--from", start), numbers("--to", end), numbers("--seeds", seeds)
    from ganzoo import api, explore

    trained = api.load_run(run)
    check_file(out, ".png", ".gif")
    explore.interpolate(
        trained,
        steps=steps,
        rows=rows,
        method=method,
        seed=seed,
        start=walk_start,
        end=walk_end,
        seeds=walk_seeds,
        label=label,
        weights=weights,
        batch_norm=batch_norm,
    ).save(out)
    typer.echo(out)


def arithmetic(
    run: RunFolder,
    out: Picture,
    a: Annotated[str, typer.Option(help="Cells of the numbered grid (`ganzoo cells`), three in the paper: 3,17,22.")],
    b: Annotated[str, typer.Option(help="As many cells of what is taken away.")],
    c: Annotated[str, typer.Option(help="As many cells of what is added.")],
    seed: GridSeed = 0,
    spread: Annotated[float, typer.Option(min=0, help="Uniform noise around the result.")] = 0.25,
    label: Label = None,
    weights: WhichWeights = "auto",
    batch_norm: WhichStatistics = None,
) -> None:
    """Draw a − b + c: the mean latents of three concepts, and what comes of them with noise around it."""
    cells_a, cells_b, cells_c = (cell_numbers(name, text) for name, text in (("--a", a), ("--b", b), ("--c", c)))
    from ganzoo import api, explore

    trained = api.load_run(run)
    check_file(out, ".png")
    explore.arithmetic(
        trained,
        cells_a,
        cells_b,
        cells_c,
        seed=seed,
        spread=spread,
        label=label,
        weights=weights,
        batch_norm=batch_norm,
    ).save(out)
    typer.echo(out)


def turn(
    run: RunFolder,
    out: PictureOrFilm,
    left: Annotated[str, typer.Option(help="Cells of the numbered grid that show one pose: 3,17,22,40.")],
    right: Annotated[str, typer.Option(help="Cells that show the other.")],
    steps: Annotated[int, typer.Option(min=2, help="Images of each row; odd: the middle one is unturned.")] = 9,
    rows: Annotated[int, typer.Option(min=1, help="Random latents, of the seed after --seed.")] = 8,
    strength: Annotated[float, typer.Option(help="Rows go from minus to plus this times the vector.")] = 1.0,
    seed: GridSeed = 0,
    label: Label = None,
    weights: WhichWeights = "auto",
    batch_norm: WhichStatistics = None,
) -> None:
    """Move random latents along mean(left) − mean(right), the vector that turned the faces of DCGAN."""
    cells_left, cells_right = cell_numbers("--left", left), cell_numbers("--right", right)
    from ganzoo import api, explore

    trained = api.load_run(run)
    check_file(out, ".png", ".gif")
    explore.turn(
        trained,
        cells_left,
        cells_right,
        steps=steps,
        rows=rows,
        strength=strength,
        seed=seed,
        label=label,
        weights=weights,
        batch_norm=batch_norm,
    ).save(out)
    typer.echo(out)


def numbers(option: str, text: str | None) -> list[int] | None:
    """The whole numbers of "3,17,22"; None for None.

    Raises:
        RequestError: it is something else; the text names `option`.
    """
    if text is None:
        return None
    try:
        return [int(number) for number in text.split(",")]
    except ValueError:
        raise RequestError(f'{option} "{text}": give whole numbers with commas between, such as 3,17,22') from None


def cell_numbers(option: str, text: str) -> list[int]:
    """As `numbers`, where something has to be given."""
    return numbers(option, text) or []


def check_file(out: Path, *suffixes: str) -> None:
    """Say at once, before any work, that `out` cannot be written.

    Raises:
        RequestError: it is a file of a kind that is not made, or its folder cannot be there.
    """
    if out.suffix.lower() not in suffixes:
        raise RequestError(f"--out {out}: give a file that ends in {' or '.join(suffixes)}")
    make_folder(out.parent, out)


def make_folder(folder: Path, out: Path) -> None:
    """Make the folder that output goes to.

    Raises:
        RequestError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RequestError(f"--out {out}: {folder} cannot be made: {error.strerror}") from error
