"""Register the command `ganzoo bench`."""

from __future__ import annotations

from ganzoo.plugin import CommandRegistrar, hookimpl


@hookimpl
def register_commands(register: CommandRegistrar) -> None:
    """Register `bench`."""
    told = "Measure training: images a second, memory, where the time goes."
    register("bench", "ganzoo_bench.command:bench", help=told, section="train")
