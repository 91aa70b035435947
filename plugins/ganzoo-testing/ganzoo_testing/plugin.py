"""Register the commands `ganzoo test-plugin` and `ganzoo new-plugin`."""

from __future__ import annotations

from ganzoo.plugin import CommandRegistrar, hookimpl


@hookimpl
def register_commands(register: CommandRegistrar) -> None:
    """Register both."""
    for name, function, told in (
        ("test-plugin", "test_plugin", "Check each component of a plugin against its contract."),
        ("new-plugin", "new_plugin", "Write a plugin that installs, passes its own tests and trains."),
    ):
        register(name, f"ganzoo_testing.command:{function}", help=told, section="plugins")
