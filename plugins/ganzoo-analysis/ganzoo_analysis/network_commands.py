"""`ganzoo filters` and `ganzoo neighbors`: what the networks hold, and whether samples are copies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ganzoo.cli.options import (
    Overwrite,
    RunFolder,
    WhichStatistics,
    WhichWeights,
    check_file,
    check_folder,
    echo,
    echo_path,
)
from ganzoo.plugin import RequestError
from ganzoo_analysis.latent_commands import Label, Picture, numbers, save


def filters(
    run: RunFolder,
    out: Annotated[Path, typer.Option(help="A folder for the pictures.")],
    layer: Annotated[int, typer.Option(help="Discriminator layer to look into; -1 for the last.")] = -1,
    features: Annotated[
        str | None, typer.Option(help="Its features, such as 1,5,9; default: the six with the strongest responses.")
    ] = None,
    guided: Annotated[bool, typer.Option(help="Guided backpropagation from these features; needs the dataset.")] = True,
    drop: Annotated[
        list[str] | None,
        typer.Option(help="Generator maps to drop, such as 2:1,5,9; may be given again.", metavar="LAYER:MAPS"),
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="Images made with and without them.")] = 16,
    seed: Annotated[int, typer.Option(min=0, help="Of latents, and of the random baseline.")] = 0,
    label: Label = None,
    weights: WhichWeights = "auto",
    batch_norm: WhichStatistics = None,
    overwrite: Overwrite = False,
) -> None:
    """Draw the filters next to the images, what discriminator features respond to, and images without some maps.

    Example: ganzoo filters runs/dcgan-digits/0001 --out filters
    """
    if out.suffix:
        raise RequestError(f"--out {out}: give a folder")
    chosen, dropped = numbers("--features", features), _maps(drop or [])
    from ganzoo import api
    from ganzoo_analysis import network_analysis

    trained = api.load_run(run)
    check_folder(out, overwrite=overwrite)
    first = network_analysis.first_filters(trained)
    for number, one in enumerate(first.generator_layers):
        echo(f"generator layer {number}: {one.channels} maps", err=True)
    # Everything that can be wrong is found before anything is written.
    pictures: list[tuple[network_analysis.Guided | network_analysis.Dropped, Path]] = []
    if dropped:
        without = network_analysis.drop(
            trained, dropped, count=count, seed=seed, label=label, weights=weights, batch_norm=batch_norm
        )
        pictures.append((without, out / "dropped.png"))
    if guided:
        responses = network_analysis.guided(trained, layer=layer, features=chosen, seed=seed)
        pictures.append((responses, out / f"features_layer_{responses.trained.layer}.png"))
    for path in first.save(out):
        echo_path(path)
    for picture, path in pictures:
        picture.save(path)
        echo_path(path)


def neighbors(
    run: RunFolder,
    out: Picture,
    count: Annotated[int, typer.Option(min=1, help="How many samples.")] = 8,
    k: Annotated[int, typer.Option(min=1, help="How many neighbors of each.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Of the samples.")] = 0,
    label: Label = None,
    weights: WhichWeights = "auto",
    batch_norm: WhichStatistics = None,
    overwrite: Overwrite = False,
) -> None:
    """Draw samples beside the training images nearest to them by pixels, and print the distances.

    Example: ganzoo neighbors runs/dcgan-digits/0001 --out neighbors.png
    """
    from ganzoo import api
    from ganzoo_analysis import network_analysis

    trained = api.load_run(run)
    check_file(out, ".png", overwrite=overwrite)
    found = network_analysis.neighbors(
        trained, count=count, k=k, seed=seed, label=label, weights=weights, batch_norm=batch_norm
    )
    for number, distances in enumerate(found.found.distances.tolist()):
        echo(f"sample {number}: {' '.join(f'{distance:.2f}' for distance in distances)}")
    echo(f"to the nearest training image, median: samples {found.samples_median:.2f}")
    echo(f"to the nearest other training image, median: training images {found.training_median:.2f}")
    save(found, out)


def _maps(drop: list[str]) -> dict[int, list[int]]:
    """Parse `["2:1,5", "2:9", "3:0"]` as `{2: [1, 5, 9], 3: [0]}`."""
    maps: dict[int, list[int]] = {}
    for text in drop:
        layer, colon, which = text.partition(":")
        if not colon or not layer.strip().isdecimal():
            raise RequestError(f'--drop "{text}": give LAYER:MAPS, such as 2:1,5,9')
        maps.setdefault(int(layer), []).extend(numbers("--drop", which) or [])
    return maps
