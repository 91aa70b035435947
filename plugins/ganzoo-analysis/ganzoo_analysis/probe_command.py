"""`ganzoo probe`: the discriminator of a run as a feature extractor."""

from __future__ import annotations

from typing import Annotated

import typer

from ganzoo.cli.options import (
    AsJson,
    Overwrite,
    RunFolder,
    check_unused,
    echo,
    echo_json,
    seed_option,
)
from ganzoo_analysis.network_commands import DatasetOverrides, OtherDataset


def probe(
    run: RunFolder,
    train: Annotated[int, typer.Option(min=1, help="Labeled images to fit, over all classes.")] = 1000,
    draws: Annotated[int, typer.Option(min=1, help="How often to draw them.")] = 5,
    seed: Annotated[int, seed_option("Seed of the draws and of the random weights.")] = 0,
    dataset: OtherDataset = None,
    set_: DatasetOverrides = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Fit a linear SVM to the discriminator's features, beside raw pixels and random weights; writes probe.json.

    Example: ganzoo probe runs/dcgan-digits/0001 --train 500
    """
    from ganzoo import api
    from ganzoo_analysis import network_analysis

    trained = api.load_run(run)
    check_unused(trained.path / network_analysis.PROBE, overwrite, option="")
    result = network_analysis.probe(trained, dataset=dataset, overrides=set_ or (), train=train, draws=draws, seed=seed)
    if as_json:
        echo_json(result)
        return
    for name, score in result["scores"].items():
        edge = ", at the edge of those tried" if score["at_edge"] else ""
        echo(
            f"{name.replace('_', ' ')}: {100 * score['accuracy']:.2f} ± {100 * score['deviation']:.2f} % "
            f"({score['features']} features, C {score['penalty']:g}{edge})"
        )
    echo("protocol:")
    for name, value in result["protocol"].items():
        echo(f"  {name}: {value}")
