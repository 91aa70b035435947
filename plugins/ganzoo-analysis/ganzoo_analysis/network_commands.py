"""`ganzoo filters`, `neighbors` and `overfitting`: what the networks hold, and what they memorize."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ganzoo.cli.options import (
    AsJson,
    Overwrite,
    RunFolder,
    WhichStatistics,
    WhichStep,
    WhichWeights,
    check_file,
    check_folder,
    echo,
    echo_json,
    echo_path,
    seed_option,
)
from ganzoo.plugin import RequestError
from ganzoo_analysis.latent_commands import Label, Picture, numbers, save

DatasetOverrides = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change the dataset's options, dataset.…; may be given again.", metavar="KEY=VALUE"),
]
OtherDataset = Annotated[
    str | None, typer.Option("--dataset", help="Another dataset than the run's, at its image size and channels.")
]


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
    boxes: Annotated[
        list[str] | None,
        typer.Option(
            help="Drop the maps of this generator layer that fire within the boxes of a file, of lines "
            "CELL,LEFT,TOP,RIGHT,BOTTOM in pixels of `ganzoo latent-grid`; may be given again.",
            metavar="LAYER:FILE",
        ),
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="Images made with and without them.")] = 16,
    seed: Annotated[int, seed_option("Seed of the latents and of the random baseline.")] = 0,
    label: Label = None,
    weights: WhichWeights = "auto",
    batch_norm: WhichStatistics = None,
    overwrite: Overwrite = False,
) -> None:
    """Draw the last filters of G and the first of D, what features of D respond to, and images without some maps.

    Example: ganzoo filters runs/dcgan-digits/0001 --out filters
    """
    if out.suffix:
        raise RequestError(f"--out {out}: give a folder")
    chosen, dropped = numbers("--features", features), _maps(drop or [])
    from ganzoo import api
    from ganzoo_analysis import network_analysis
    from ganzoo_analysis.boxes import maps_within, read_boxes

    drawn = [(layer_of, read_boxes(Path(file))) for layer_of, file in _with_layers("--boxes", "FILE", boxes or [])]
    trained = api.load_run(run)
    check_folder(out, overwrite=overwrite)
    first = network_analysis.first_filters(trained)
    for number, one in enumerate(first.generator_layers):
        echo(f"generator layer {number}: {one.channels} maps", err=True)
    # Everything that can be wrong is found before anything is written.
    pictures: list[tuple[network_analysis.Guided | network_analysis.Dropped, Path]] = []
    for layer_of, those in drawn:
        found = maps_within(trained, those, layer_of, seed=seed, label=label, weights=weights, batch_norm=batch_norm)
        echo(f"fire within the boxes: --drop {layer_of}:{','.join(map(str, found))}", err=True)
        dropped.setdefault(layer_of, []).extend(found)
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
    seed: Annotated[int, seed_option("Seed of the samples.")] = 0,
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


def overfitting(
    run: RunFolder,
    set_: DatasetOverrides = None,
    dataset: OtherDataset = None,
    count: Annotated[int, typer.Option(min=2, help="Images of each group.")] = 2000,
    seed: Annotated[int, seed_option("Seed of the choice of images and of the latents.")] = 0,
    step: WhichStep = None,
    as_json: AsJson = False,
) -> None:
    """Compare the discriminator's logits for training images, unseen images and generated ones.

    --set or --dataset names the unseen images; with neither, they are those of [evaluation.held_out].

    Example: ganzoo overfitting runs/dcgan-mnist/0001 --set dataset.split=test
    """
    from ganzoo import api
    from ganzoo_analysis.overfitting import overfitting as compare

    trained = api.load_run(run, step=step)
    found = compare(trained, dataset=dataset, overrides=set_ or (), count=count, seed=seed)
    if as_json:
        echo_json(asdict(found))
        return
    noun = trained.checkpoint.info.noun
    for name in ("training", "unseen", "generated"):
        group = getattr(found, name)
        probability = "" if group.probability is None else f", mean probability {group.probability:.3f}"
        echo(f"{group.count} {name} {noun}: logits {group.mean:.3g} ± {group.deviation:.3g}{probability}")
    if found.ratio is None:
        echo(f"training {noun} are not told from generated ones")
    else:
        between = f"0: unseen {noun} are judged as training {noun} are, 1: as generated ones"
        echo(f"overfitting: {found.ratio:z.2f} ({between})")


def _maps(drop: list[str]) -> dict[int, list[int]]:
    """Parse `["2:1,5", "2:9", "3:0"]` as `{2: [1, 5, 9], 3: [0]}`."""
    maps: dict[int, list[int]] = {}
    for layer, which in _with_layers("--drop", "MAPS, such as 2:1,5,9", drop):
        maps.setdefault(layer, []).extend(numbers("--drop", which) or [])
    return maps


def _with_layers(option: str, what: str, texts: list[str]) -> Iterator[tuple[int, str]]:
    """Yield the layer that a text begins with, and what follows its colon."""
    for text in texts:
        layer, colon, rest = text.partition(":")
        if not colon or not layer.strip().isdecimal():
            raise RequestError(f'{option} "{text}": give LAYER:{what}')
        yield int(layer), rest
