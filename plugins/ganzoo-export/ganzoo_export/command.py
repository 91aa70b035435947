"""`ganzoo export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ganzoo.cli.options import RunFolder, WhichNetwork, WhichStatistics, WhichStep, WhichWeights, echo_path


def export(
    run: RunFolder,
    out: Annotated[Path, typer.Option(help="The folder to make.", metavar="FOLDER")],
    format_: Annotated[
        Literal["safetensors", "onnx", "hub"],
        typer.Option("--format", help="hub: the layout of a repository on the Hugging Face Hub."),
    ] = "safetensors",
    step: WhichStep = None,
    network: WhichNetwork = None,
    weights: WhichWeights = "auto",
    discriminator: Annotated[bool, typer.Option("--discriminator", help="Export it too.")] = False,
    batch_norm: WhichStatistics = None,
    license_: Annotated[
        str | None, typer.Option("--license", help="License of the weights, such as mit or cc-by-4.0.")
    ] = None,
) -> None:
    """Write the generator into a folder that you can share, with its recipe, checksums and a model card.

    Example: ganzoo export runs/dcgan-digits/0001 --out shared --format hub
    """
    from ganzoo import api
    from ganzoo.plugin import count_progress
    from ganzoo_export.export import export_run

    trained = api.load_run(run, step=step, network=network)
    with count_progress(what="writing the export, part") as progress:
        folder = export_run(
            trained,
            out,
            format_,
            weights=weights,
            discriminator=discriminator,
            batch_norm=batch_norm,
            license=license_,
            progress=progress,
        )
    echo_path(folder)
