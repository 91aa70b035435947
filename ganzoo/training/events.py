"""Fires events at observers one by one, so that a failing observer is named and left out rather than obeyed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pluggy

from ganzoo.errors import GanzooError


class Events:
    """The event hooks of all observers of one run.

    Of several processes only the first has observers: `manager` None is nobody.

    A `GanzooError` from an observer ends the run: it means what it says (a full disk). Any other error
    is the observer's own; it is reported once through `warn` and the observer hears no more of the run.
    """

    def __init__(self, manager: pluggy.PluginManager | None, warn: Callable[[str], None]) -> None:
        self._manager = manager
        self._warn = warn
        self._muted: set[object] = set()

    def fire(self, event: str, **arguments: Any) -> None:
        """Call `event` on every observer, in the order they were registered."""
        if self._manager is None:
            return
        for implementation in getattr(self._manager.hook, event).get_hookimpls():
            if implementation.plugin in self._muted:
                continue
            try:
                self.call(implementation, event, arguments)
            except GanzooError:
                raise
            except Exception as error:
                self._muted.add(implementation.plugin)
                self._warn(
                    f"the observer {implementation.plugin_name} failed in {event} and is left out from here on: "
                    f"{type(error).__name__}: {error}"
                )

    def call(self, implementation: pluggy.HookImpl, event: str, arguments: dict[str, Any]) -> None:
        """Call one observer with the arguments that it takes."""
        implementation.function(*(arguments[name] for name in implementation.argnames))
