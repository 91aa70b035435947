"""`ganzoo new-plugin`: a plugin to begin with, complete and working."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ganzoo.registry.scaffold import Kind


def new_plugin(
    name: Annotated[str, typer.Argument(help="Of its distribution, such as ganzoo-example.")],
    kind: Annotated[Kind, typer.Option(help="What it brings; full: networks and a loss.")] = "full",
    out: Annotated[Path | None, typer.Option(help="The folder to make; default: NAME here.")] = None,
) -> None:
    """Write a plugin that installs, passes its own tests and trains. The last line on stdout is its folder."""
    from ganzoo.registry import scaffold
    from ganzoo.registry.plugin_manager import plugin_manager

    folder = out or Path(name)
    made = scaffold.new_plugin(name, kind, folder, plugin_manager())
    for path in made.files:
        typer.echo(f"wrote {path}", err=True)
    typer.echo(f"next: cd {folder} && pip install -e '.[test]' && pytest && ganzoo run {made.recipe}", err=True)
    typer.echo(folder)
