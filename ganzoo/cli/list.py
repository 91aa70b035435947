"""`ganzoo list` and `ganzoo plugins`: what is there to put into a recipe, and where it comes from."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ganzoo.cli.command_group import report_broken
from ganzoo.cli.options import AsJson
from ganzoo.registry.kinds import LISTS

if TYPE_CHECKING:
    from ganzoo.registry.registry import Entry

    Kind = str
else:
    Kind = Literal[LISTS]


def list_components(
    kind: Annotated[Kind, typer.Argument(help="What to list; losses include penalties.")],
    as_json: AsJson = False,
) -> None:
    """List what is installed of one kind, with what each is and the plugin it comes from."""
    from ganzoo.registry.plugin_manager import plugin_manager

    manager = plugin_manager()
    rows = [
        {"name": entry.name, "kind": registry.kind.name, "summary": summary(entry), "plugin": entry.plugin}
        for registry in manager.registries.by_hook()[f"register_{kind}"]
        for entry in registry
    ]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
    else:
        _table(rows, f"no {kind} are installed")
    report_broken(manager)


def plugins(as_json: AsJson = False) -> None:
    """List the installed plugins, those that cannot be loaded included, with the reason."""
    from ganzoo.registry.plugin_manager import plugin_manager

    manager = plugin_manager()
    rows = [
        {
            "name": plugin.name,
            "status": plugin.status,
            "distribution": plugin.distribution,
            "version": plugin.version,
            "module": plugin.module,
            "error": plugin.error,
        }
        for plugin in manager.plugins
    ]
    typer.echo(json.dumps(rows, indent=2)) if as_json else _table(rows, "no plugins are installed")


def summary(entry: Entry[Any]) -> str:
    """The first line of the component's documentation: its class's where that is imported, else its options'."""
    import inspect

    documented = entry.target if isinstance(entry.target, type) else entry.options
    return (inspect.getdoc(documented) or "").partition("\n")[0]


def _table(rows: list[dict[str, str]], nothing: str) -> None:
    """Print rows as columns; rich draws them on a terminal, plain tab-separated text goes elsewhere."""
    if not rows:
        typer.echo(nothing)
    elif sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table

        table = Table(*[key for key in rows[0] if any(row[key] for row in rows)])
        for row in rows:
            table.add_row(*[row[column.header] for column in table.columns])  # type: ignore[index]
        Console().print(table)
    else:
        for row in rows:
            typer.echo("\t".join(row.values()).rstrip())
