"""`ganzoo import`: weights that were trained elsewhere become a run directory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ganzoo.cli.options import Overrides

if TYPE_CHECKING:
    from ganzoo.components.importer import ImportedWeights


def import_(
    source: Annotated[Path, typer.Argument(help="A file or folder of weights.")],
    out: Annotated[Path, typer.Option(help="The run directory to make.", metavar="RUN")],
    importer: Annotated[
        str | None, typer.Option("--as", help="The importer to use; see `ganzoo list importers`.", metavar="NAME")
    ] = None,
    set_: Overrides = None,
) -> None:
    """Bring weights from elsewhere into a run directory; runs no code from them.

    Prints what went where; the last line on stdout is the run directory.
    """
    from ganzoo import api

    typer.echo(api.import_run(source, out, set_ or (), importer=importer, report=show).path)


def show(weights: ImportedWeights) -> None:
    """Print the table of what went where, then what was assumed."""
    rows = [
        (row.source, "×".join(map(str, row.shape)) or "scalar", row.target, row.change) for row in weights.assignments
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for name, shape, target, change in rows:
        line = f"{name:<{widths[0]}}  {shape:<{widths[1]}}  →  {target:<{widths[2]}}  {change}"
        typer.echo(line.rstrip())
    for note in weights.notes:
        typer.echo(f"note: {note}", err=True)
