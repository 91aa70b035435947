"""The `ganzoo` command: parse, call, print."""

from contextlib import ExitStack

cleanup = ExitStack()
"""Is closed when a command ends: folders that it made and left empty are removed."""
