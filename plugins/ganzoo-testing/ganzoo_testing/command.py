"""`ganzoo test-plugin` and `ganzoo new-plugin`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ganzoo.cli.options import echo, echo_path
from ganzoo_testing import scaffold

if TYPE_CHECKING:
    Outlined = str
else:
    Outlined = Literal[tuple(scaffold.OUTLINES)]


def test_plugin(
    plugin: Annotated[str, typer.Argument(help="A distribution, such as ganzoo-example, or a plugin file.")],
) -> None:
    """Check each component, command and hook of a plugin against its contract.

    Example: ganzoo test-plugin ganzoo-dcgan
    """
    from ganzoo.plugin import DataError, PluginError, plugin_manager
    from ganzoo_testing import ConformanceError, check_command, check_component, components_of, describe
    from ganzoo_testing.conformance import hooks_of, plugins_of

    manager = plugin_manager()
    if plugin.endswith(".py"):
        manager = manager.with_files([Path(plugin)])
    names = plugins_of(plugin, manager)
    parts: list[tuple[str, Callable[[], None]]] = [
        *((describe(entry), partial(check_component, entry, manager)) for entry in components_of(plugin, manager)),
        *(
            (f"command {command.name}", partial(check_command, command))
            for command in manager.commands.values()
            if command.plugin in names
        ),
        *((f"hook {name}", lambda: None) for name in hooks_of(plugin, manager)),  # loading the plugin checked it
    ]
    if not parts:
        raise PluginError(f"{plugin}: nothing to check: it has no component, no command and no hook for events")
    conforming = failed = 0
    for told, check in parts:
        try:
            check()
        except ConformanceError as error:
            failed += 1
            echo(f"fails    {error}")
        except DataError as error:
            echo(f"skipped  {told}: {error}")
        else:
            conforming += 1
            echo(f"conforms {told}")
    echo(f"conforming: {conforming} of {len(parts)}", err=True)
    if failed:
        raise typer.Exit(1)


def new_plugin(
    name: Annotated[str, typer.Argument(help="Name of its distribution, such as ganzoo-example.")],
    kind: Annotated[Outlined, typer.Option(help="What it brings; full: networks and a loss.")] = "full",
    out: Annotated[Path | None, typer.Option(help="The folder to make; default: NAME here.")] = None,
) -> None:
    """Write a plugin that installs, passes its own tests and trains. The last line on stdout is its folder.

    Example: ganzoo new-plugin ganzoo-mine --kind loss
    """
    from ganzoo.plugin import plugin_manager, shell_word

    folder = out or Path(name)
    files, recipe = scaffold.new_plugin(name, kind, folder, plugin_manager())
    for path in files:
        echo(f"wrote {path}", err=True)
    steps = [f"cd {shell_word(folder)}", "pip install -e '.[test]'", "pytest", f"ganzoo run {shell_word(recipe)}"]
    if kind == "command":
        steps.append(f"ganzoo {recipe.stem.replace('_', '-')} runs/{name}/0001")
    echo(f"next: {' && '.join(steps)}", err=True)
    echo_path(folder)
