"""`ganzoo bench`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ganzoo.cli.options import AsJson, Overrides, RecipeFile, echo_document


def bench(
    recipe: RecipeFile,
    set_: Overrides = None,
    baseline: Annotated[
        Path | None,
        typer.Option(
            help="A Python file with a loop to compare with, such as benchmarks/tutorial_loop.py: it is executed.",
            metavar="FILE",
        ),
    ] = None,
    rounds: Annotated[int, typer.Option(min=2, help="Rounds in which each variant is timed.")] = 5,
    steps: Annotated[int, typer.Option(min=1, help="Steps in a round.")] = 3,
    under_load: Annotated[
        bool, typer.Option("--under-load", help="Also train beside a process that keeps one core busy.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Measure training: images a second, memory, where the time goes, and the share of the matrix product's speed.

    Example: ganzoo bench recipes/dcgan_digits.toml
    """
    from ganzoo_bench.measure import measure
    from ganzoo_bench.report import to_text

    found = measure(recipe, set_ or (), baseline=baseline, rounds=rounds, steps=steps, under_load=under_load)
    echo_document(json.dumps(found, indent=2) if as_json else to_text(found))
