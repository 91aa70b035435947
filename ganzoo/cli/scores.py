"""`ganzoo evaluate`: what the samples of a run are worth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from ganzoo.cli.recipes import AsJson
from ganzoo.cli.runs import Overrides


def add_to(app: typer.Typer) -> None:
    """Add this module's commands to `app`."""
    app.command("evaluate")(evaluate)


def evaluate(
    run: Annotated[Path, typer.Argument(help="A run directory.")],
    samples: Annotated[int, typer.Option(min=2, help="How many images to make and score.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of their latents.")] = 0,
    weights: Annotated[Literal["auto", "ema", "raw"], typer.Option(help="auto: ema where there is one.")] = "auto",
    image_size: Annotated[
        int | None, typer.Option(min=8, help="Compare at this size, where runs of different sizes are to be compared.")
    ] = None,
    set_: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Score samples against the dataset with a classifier trained on it; writes evaluation.json."""
    from ganzoo import api

    result = api.load_run(run).evaluate(
        samples, seed=seed, weights=weights, image_size=image_size, overrides=set_ or ()
    )
    if as_json:
        typer.echo(json.dumps(result, indent=2))
        return
    for part in ("scores", "details", "card"):
        typer.echo(f"{part}:")
        for name, value in result[part].items():
            typer.echo(f"  {name}: {f'{value:.4g}' if isinstance(value, float) else value}")
