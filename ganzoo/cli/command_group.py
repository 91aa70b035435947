"""The commands of `ganzoo`: the core's and the plugins', each imported when it is called."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from functools import cache, cached_property
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from ganzoo.builtin.commands import ELSEWHERE, register_commands
from ganzoo.registry import DISABLE_VARIABLE, ENTRY_POINT_GROUP, FILES_VARIABLE
from ganzoo.registry.commands import Command, CommandRegistrar, Section
from ganzoo.text import did_you_mean, printable_lines

if TYPE_CHECKING:
    from ganzoo.registry.plugin_manager import PluginManager

OWN = "builtin"
"""The plugin of the core's own commands."""

HEADINGS: dict[Section, str] = {
    "train": "Train",
    "look": "Look",
    "compare": "Compare",
    "data": "Data and recipes",
    "plugins": "Plugins",
}


class CommandGroup(TyperGroup):
    """Looks commands up by name, the core's first, and lists all under headings."""

    @cached_property
    def of_plugins(self) -> list[Command]:
        """The commands of plugins, to be listed."""
        if not os.environ.get(FILES_VARIABLE):
            with suppress(Exception, SystemExit):  # the plugin manager keeps out what fails here, and reports it
                return installed_commands()
        manager = _plugin_manager()
        report_broken(manager)
        return [command for name, command in manager.commands.items() if name not in own_commands()]

    def list_commands(self, ctx: Any) -> list[str]:
        """Every name."""
        return [*own_commands(), *(command.name for command in self.of_plugins)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of this name, imported now, or None."""
        command = own_commands().get(cmd_name) or _plugin_manager().commands.get(cmd_name)
        return _as_typer_has_it(command) if command else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that is called, and its arguments; leaves with 2 where there is none of the name."""
        command = self.get_command(ctx, args[0])
        if command is None:
            manager = _plugin_manager()
            report_broken(manager)
            if home := ELSEWHERE.get(args[0]):
                where = "" if manager.of_distribution(home) else f", plugins/{home}"
                ctx.fail(f'the command "{args[0]}" comes with {home}: {"; ".join(manager.lacking(home))}{where}')
            close = did_you_mean(args[0], [*own_commands(), *manager.commands])
            ctx.fail(f'there is no command "{args[0]}"{close or "; `ganzoo --help` lists them"}')
        return args[0], command, args[1:]

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """List the commands under their headings, those of a plugin with its name."""
        rows: dict[Section, list[tuple[str, str]]] = {section: [] for section in HEADINGS}
        for command in own_commands().values():
            rows[command.section].append((command.name, command.help))
        for command in self.of_plugins:
            rows[command.section].append((command.name, f"{command.help} [{command.plugin.partition(' (')[0]}]"))
        widest = max(len(name) for section in rows.values() for name, _ in section)
        for section, listed in rows.items():
            with formatter.section(HEADINGS[section]):
                formatter.write_dl([(name.ljust(widest), told) for name, told in listed])


@cache
def own_commands() -> dict[str, Command]:
    """The commands of the core, by name."""
    commands: dict[str, Command] = {}
    register_commands(CommandRegistrar(commands, OWN))
    return commands


def installed_commands() -> list[Command]:
    """The commands of installed plugins, found by importing those plugins alone that have the hook.

    `ganzoo --help` needs no more, and is much faster for it than with a `PluginManager`, which loads every plugin.

    Raises:
        Exception: a plugin cannot be imported, or registers wrongly.
    """
    import importlib.metadata

    import pluggy

    from ganzoo.registry import hookspecs

    disabled = {name.strip() for name in os.environ.get(DISABLE_VARIABLE, "").split(",")}
    commands = {**own_commands()}
    plugins = pluggy.PluginManager("ganzoo")
    plugins.add_hookspecs(hookspecs)
    for entry_point in sorted(importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)):
        if entry_point.name in disabled or not _has_commands(entry_point.module):
            continue
        module = entry_point.load()
        plugins.register(module, entry_point.name)
        others = [other for other in plugins.get_plugins() if other is not module]
        register = CommandRegistrar(commands, entry_point.name)
        plugins.subset_hook_caller("register_commands", others)(register=register)
    return [command for command in commands.values() if command.plugin != OWN]


def _has_commands(module: str) -> bool:
    """Whether a plugin's module has the hook, by the names in its code, which is not run for that."""
    from importlib.util import find_spec

    if module.startswith("ganzoo."):
        return False  # the core's own are known
    spec = find_spec(module)
    loader: Any = spec.loader if spec else None
    code = loader.get_code(module) if hasattr(loader, "get_code") else None
    return code is None or "register_commands" in code.co_names


def report_broken(manager: PluginManager) -> None:
    """Warn of the plugins that could not be loaded."""
    for plugin in manager.broken:
        typer.echo(printable_lines(f"warning: the plugin {plugin} could not be loaded: {plugin.error}"), err=True)


def _plugin_manager() -> PluginManager:
    from ganzoo.registry.plugin_manager import plugin_manager

    return plugin_manager()


def _as_typer_has_it(command: Command) -> Any:
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    target = command.load()
    if command.plugin == OWN and "trackers" in signature(target).parameters:
        target = _with_flags(target, command.name)
    if isinstance(target, typer.Typer):
        app.add_typer(target, name=command.name)
    else:
        app.command(command.name)(target)
    app.callback()(lambda: None)  # so that one command is a group too
    group: Any = typer.main.get_command(app)
    return group.commands[command.name]


def _with_flags(function: Callable[..., None], command: str) -> Callable[..., None]:
    """Return a command with a flag for each tracker that has one of it, such as `ganzoo sweep --wandb`.

    Its argument `trackers` is the entries of those whose flags are given.
    """
    entries = {each.name: each for each in _plugin_manager().registries.trackers if command in each.options.flags}

    def called(**given: Any) -> None:
        function(trackers=[entry for name, entry in entries.items() if given.pop(name)], **given)

    own = signature(function, eval_str=True)
    kept = [each for name, each in own.parameters.items() if name != "trackers"]
    for name, entry in entries.items():
        option = typer.Option(f"--{name}", help=entry.options.flags[command])
        kept.append(Parameter(name, Parameter.KEYWORD_ONLY, default=False, annotation=Annotated[bool, option]))
    called.__doc__, called.__annotations__ = function.__doc__, {}
    called.__signature__ = own.replace(parameters=kept)  # type: ignore[attr-defined]
    return called
