"""`ganzoo latent-grid`, `interpolate`, `arithmetic` and `direction`: the latent space of a trained run in pictures."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Protocol

import typer

from ganzoo.cli.options import (
    Overwrite,
    RunFolder,
    Sampling,
    WhichStatistics,
    WhichWeights,
    check_file,
    echo,
    echo_path,
    seed_option,
)
from ganzoo.plugin import RequestError

Picture = Annotated[Path, typer.Option(help="A .png file.")]
PictureOrAnimation = Annotated[Path, typer.Option(help="A .png file, or a .gif for an animation.")]
GridSeed = Annotated[int, seed_option("Seed of the numbered grid.")]
Label = Annotated[
    str | None,
    typer.Option(help="Class for a conditional generator, by name or index, or its attributes or values: 0.5,1."),
]
POINT = re.compile(r"(\s*-?\d+\s*(?=,)|.*?\.safetensors(?=,)|[^,]*),")
"""A cell or a file, whose name may have commas, with the comma after it."""


class _Picture(Protocol):
    @property
    def about(self) -> Mapping[str, object]: ...

    def save(self, path: Path) -> None: ...


def save(found: _Picture, out: Path) -> None:
    """Write the picture or animation; say where, and on stderr which classes it shows."""
    found.save(out)
    if "classes" in found.about:
        echo(f"classes, in turn: {found.about['classes']}", err=True)
    echo_path(out)


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


def latent_grid(
    run: RunFolder,
    out: Picture,
    seed: GridSeed = 0,
    label: Label = None,
    weights: WhichWeights = "auto",
    batch_norm: WhichStatistics = None,
    set_: Sampling = None,
    overwrite: Overwrite = False,
) -> None:
    """Draw a grid of 100 numbered images, to pick the cells that the other commands take.

    Example: ganzoo latent-grid runs/dcgan-digits/0001 --out grid.png
    """
    from ganzoo import api
    from ganzoo_analysis import latent_space

    trained = api.load_run(run).sampled_with(set_ or ())
    check_file(out, ".png", overwrite=overwrite)
    save(latent_space.latent_grid(trained, seed=seed, label=label, weights=weights, batch_norm=batch_norm), out)


def interpolate(
    run: RunFolder,
    out: PictureOrAnimation,
    seed: Annotated[int, seed_option("Seed of the random latents, or of the numbered grid.")] = 0,
    start: Annotated[
        str | None,
        typer.Option("--from", help="Cells of the numbered grid to walk from, or files of `ganzoo invert`: 3,17."),
    ] = None,
    end: Annotated[str | None, typer.Option("--to", help="Cells or files to walk to, one for each of --from.")] = None,
    seeds: Annotated[str | None, typer.Option(help="Walk through the first latent of each of these seeds.")] = None,
    steps: Annotated[int, typer.Option(min=2, help="Images of each walk.")] = 10,
    rows: Annotated[int, typer.Option(min=1, help="Number of walks, if they go between random latents.")] = 8,
    method: Annotated[
        Literal["spherical", "linear"], typer.Option(help="linear is natural for a uniform prior.")
    ] = "spherical",
    label: Label = None,
    weights: WhichWeights = "auto",
    batch_norm: WhichStatistics = None,
    set_: Sampling = None,
    overwrite: Overwrite = False,
) -> None:
    """Walk from latent to latent, a row each; a .gif shows all the walks at once, there and back.

    Example: ganzoo interpolate runs/dcgan-digits/0001 --from 3 --to 17 --out walk.gif
    """
    walk_start = None if start is None else points("--from", start)
    walk_end = None if end is None else points("--to", end)
    walk_seeds = numbers("--seeds", seeds)
    from ganzoo import api
    from ganzoo_analysis import latent_space

    trained = api.load_run(run).sampled_with(set_ or ())
    check_file(out, ".png", ".gif", overwrite=overwrite)
    found = latent_space.interpolate(
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
    )
    save(found, out)


def arithmetic(
    run: RunFolder,
    out: Picture,
    a: Annotated[
        str,
        typer.Option(help="Cells of `ganzoo latent-grid`, three in the paper, or files of `ganzoo invert`: 3,17,22."),
    ],
    b: Annotated[str, typer.Option(help="The same number of cells to subtract.")],
    c: Annotated[str, typer.Option(help="The same number of cells to add.")],
    seed: GridSeed = 0,
    spread: Annotated[float, typer.Option(min=0, help="Uniform noise around the result.")] = 0.25,
    label: Label = None,
    weights: WhichWeights = "auto",
    batch_norm: WhichStatistics = None,
    set_: Sampling = None,
    overwrite: Overwrite = False,
) -> None:
    """Draw a − b + c, computed from the mean latents of three concepts, and images with noise around it.

    Example: ganzoo arithmetic runs/dcgan-digits/0001 --a 3,17 --b 5,22 --c 8,40 --out sum.png
    """
    cells_a, cells_b, cells_c = (points(name, text) for name, text in (("--a", a), ("--b", b), ("--c", c)))
    from ganzoo import api
    from ganzoo_analysis import latent_space

    trained = api.load_run(run).sampled_with(set_ or ())
    check_file(out, ".png", overwrite=overwrite)
    found = latent_space.arithmetic(
        trained,
        cells_a,
        cells_b,
        cells_c,
        seed=seed,
        spread=spread,
        label=label,
        weights=weights,
        batch_norm=batch_norm,
    )
    save(found, out)


def direction(
    run: RunFolder,
    out: PictureOrAnimation,
    left: Annotated[str, typer.Option(help="Cells of the numbered grid, or files, that show one pose: 3,17,22,40.")],
    right: Annotated[str, typer.Option(help="Cells or files that show the other.")],
    steps: Annotated[int, typer.Option(min=2, help="Images of each row; an odd count has the latent itself.")] = 9,
    rows: Annotated[int, typer.Option(min=1, help="Number of random latents, drawn with the seed after --seed.")] = 8,
    strength: Annotated[float, typer.Option(help="Rows go from minus to plus this times the vector.")] = 1.0,
    seed: GridSeed = 0,
    label: Label = None,
    weights: WhichWeights = "auto",
    batch_norm: WhichStatistics = None,
    set_: Sampling = None,
    overwrite: Overwrite = False,
) -> None:
    """Move random latents along mean(left) − mean(right), as the DCGAN paper turns faces.

    Example: ganzoo direction runs/dcgan-digits/0001 --left 3,17 --right 22,40 --out turn.gif
    """
    cells_left, cells_right = points("--left", left), points("--right", right)
    from ganzoo import api
    from ganzoo_analysis import latent_space

    trained = api.load_run(run).sampled_with(set_ or ())
    check_file(out, ".png", ".gif", overwrite=overwrite)
    found = latent_space.direction(
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
    )
    save(found, out)


def points(option: str, text: str) -> list[int | Path]:
    """Parse cells of the numbered grid and files of points, with commas between.

    Raises:
        RequestError: there is something else; the text names `option`.
    """
    found: list[int | Path] = []
    for each in POINT.findall(f"{text},"):
        found += [Path(each)] if each.endswith(".safetensors") else numbers(option, each) or []
    return found
