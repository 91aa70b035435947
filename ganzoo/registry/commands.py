"""Register commands by name; they are imported when they are run, so that `ganzoo --help` stays fast."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Literal, get_args

from ganzoo.errors import PluginError

Section = Literal["train", "look", "compare", "data", "plugins"]
"""The heading of `ganzoo --help` that a command is listed under."""


@dataclass(frozen=True)
class Command:
    """One registered command: `target` is "module:function", imported when the command is run.

    The function is one that typer makes a command of, or a `typer.Typer` for a command with subcommands.
    """

    name: str
    target: str
    help: str
    section: Section
    plugin: str

    def load(self) -> Any:
        """Import and return the function.

        Raises:
            PluginError: it cannot be imported.
        """
        return import_target(self.target, f'the command "{self.name}" of the plugin {self.plugin}')


@dataclass(frozen=True)
class CommandRegistrar:
    """The argument of `register_commands`: registers commands for the plugin that calls it.

    `imported_as`: the names in `sys.modules` of modules that have another there, as a plugin file has.
    """

    commands: dict[str, Command]
    plugin: str
    imported_as: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, name: str, target: str, *, help: str, section: Section = "look") -> None:  # noqa: A002
        """Register a command.

        Args:
            name: the word after `ganzoo`.
            target: "module:function", imported when the command is run or its own --help is shown.
            help: one line for `ganzoo --help`.
            section: the heading that it is listed under there.

        Raises:
            PluginError: the name is taken or not valid, the target is not "module:function", or there is no such
                section.
        """
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
            raise PluginError(f'the command name "{name}": take lowercase letters and digits, with hyphens between')
        if not isinstance(target, str) or not all(target.partition(":")):
            raise PluginError(
                f'the command "{name}" is registered with {target!r}: give its place as "module:function", '
                f"so that it is imported when it is run"
            )
        if section not in get_args(Section):
            raise PluginError(
                f'the command "{name}" is registered for the section "{section}": '
                f"take one of {', '.join(get_args(Section))}"
            )
        if name in self.commands:
            raise PluginError(
                f'the command name "{name}" is taken by the plugin {self.commands[name].plugin}; '
                f"the plugin {self.plugin} wants it too: rename it there, or leave one of the two out with --no-plugin"
            )
        self.commands[name] = Command(name, imported(target, self.imported_as), help, section, self.plugin)


def import_target(target: str, what: str) -> Any:
    """Import and return what stands at "module:attribute".

    Raises:
        PluginError: it cannot be imported; `what` says in the text what it is.
    """
    module, _, attribute = target.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except Exception as error:
        raise PluginError(f"{what} cannot be imported from {target}: {type(error).__name__}: {error}") from error


def imported(target: str, imported_as: Mapping[str, str]) -> str:
    """Return "module:attribute" with the module's name in `sys.modules`."""
    module, _, attribute = target.partition(":")
    return f"{imported_as.get(module, module)}:{attribute}"
