"""Register the command `ganzoo export`."""

from __future__ import annotations

from ganzoo.plugin import CommandRegistrar, hookimpl


@hookimpl
def register_commands(register: CommandRegistrar) -> None:
    """Register `export`."""
    register("export", "ganzoo_export.command:export", help="Write the generator into a folder to give away.")
