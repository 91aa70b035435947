"""`ganzoo list` and `plugins`: what there is to put into a recipe, and where it comes from."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ganzoo.cli.command_group import report_broken
from ganzoo.cli.options import AsJson, echo, echo_document, echo_json
from ganzoo.registry.kinds import LISTS
from ganzoo.text import printable

if TYPE_CHECKING:
    from ganzoo.registry.registry import Entry

    Listed = str
else:
    Listed = Literal[LISTS]


def list_components(
    kind: Annotated[Listed, typer.Argument(help="What to list; losses include penalties.")], as_json: AsJson = False
) -> None:
    """List what is installed of one kind, with what each is and the plugin it comes from.

    Example: ganzoo list losses
    """
    from ganzoo.registry.plugin_manager import plugin_manager

    manager = plugin_manager()
    rows = [
        {"name": entry.name, "kind": registry.kind.name, "summary": summary(entry), "plugin": entry.plugin}
        for registry in manager.registries.by_hook()[f"register_{kind}"]
        for entry in registry
    ]
    if as_json:
        echo_json(rows)
    else:
        _table(rows, f"no {kind} are installed")
    report_broken(manager)


def plugins(as_json: AsJson = False) -> None:
    """List the installed plugins, those that cannot be loaded included, with the reason.

    Example: ganzoo plugins
    """
    from ganzoo.registry.plugin_manager import plugin_manager

    columns = ("name", "status", "distribution", "version", "module", "error")
    rows = [{column: getattr(plugin, column) for column in columns} for plugin in plugin_manager().plugins]
    echo_json(rows) if as_json else _table(rows, "no plugins are installed")


def summary(entry: Entry) -> str:
    """The first paragraph of the component's documentation: its class's where that is imported, else its options'."""
    import inspect

    documented = entry.target if isinstance(entry.target, type) else entry.options
    return " ".join((inspect.getdoc(documented) or "").partition("\n\n")[0].split())


def _table(rows: list[dict[str, str]], nothing: str) -> None:
    """Print rows as columns; rich draws them on a terminal, plain tab-separated text goes elsewhere."""
    if not rows:
        echo(nothing)
    elif sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table

        table = Table(*[key for key in rows[0] if any(row[key] for row in rows)])
        for row in rows:
            table.add_row(*[printable(row[column.header]) for column in table.columns])  # type: ignore[index]
        Console(markup=False, emoji=False).print(table)
    else:
        for row in rows:
            echo_document("\t".join(map(printable, row.values())).rstrip())
