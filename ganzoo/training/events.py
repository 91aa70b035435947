"""Call the observers of one run, and leave out those that fail."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ganzoo.errors import GanzooError
from ganzoo.registry.plugin_manager import HookManager
from ganzoo.text import unused_name

Call = tuple[str, Callable[..., object], tuple[str, ...]]
"""An observer's name, its function for an event, and the names of the arguments that it takes."""


class Events:
    """The observers of one run and the event hooks that they implement.

    Hooks are called in pluggy's order: `tryfirst` before all others, then the last registered first, `trylast` after
    all others. A `GanzooError` from an observer, such as a full disk, ends the run. Any other error is the observer's
    own: it is passed to `warn`, and the observer is not called again in this run.

    Args:
        plugins: (name, module) of the plugins, in the order in which they were loaded.
        warn: called with a message when an observer fails.

    Raises:
        PluginError: an observer marks a function that is no hook, or a wrapper.
    """

    def __init__(self, plugins: Iterable[tuple[str, Any]], warn: Callable[[str], None]) -> None:
        self._warn = warn
        self._muted: set[str] = set()
        self._hooks = HookManager()
        self._calls: dict[str, list[Call]] = {}
        for name, plugin in plugins:
            self._hooks.register(plugin, name)

    def register(self, observer: object, name: str | None = None) -> None:
        """Add an observer, which is called before those registered earlier.

        Raises:
            PluginError: it marks a function that is no hook, or a wrapper.
        """
        taken = dict(self._hooks.list_name_plugin())
        self._hooks.register(observer, name or unused_name(type(observer).__name__, taken))
        self._calls.clear()

    def register_standard(self, observers: Sequence[object]) -> None:
        """Add ganzoo's own observers, which are called after all others and in this order."""
        others = self._hooks.list_name_plugin()
        self._hooks = HookManager()
        for observer in reversed(observers):
            self.register(observer)
        for name, plugin in others:
            self.register(plugin, name)

    def fire(self, event: str, **arguments: Any) -> None:
        """Call `event` on every observer; dictionaries are read-only, and each gets its own copy of the images."""
        calls = self._calls.get(event)
        if calls is None:
            calls = self._calls[event] = self.calls(event)
        for name, value in arguments.items():
            if type(value) is dict:
                arguments[name] = MappingProxyType(dict(value))
        images = arguments.get("images")
        argument = arguments.__getitem__
        for observer, function, names in calls:
            if observer in self._muted:
                continue
            if images is not None:
                arguments["images"] = images.clone()
            try:
                function(*map(argument, names))
            except GanzooError:
                raise
            except (Exception, SystemExit) as error:
                self._muted.add(observer)
                self._warn(
                    f"the observer {observer} failed in {event} and is left out from here on: "
                    f"{type(error).__name__}: {error}{_place(error, function)}"
                )

    def calls(self, event: str) -> list[Call]:
        """List the implementations of `event` in the order of their calls."""
        implementations = getattr(self._hooks.hook, event).get_hookimpls()
        return [(each.plugin_name, each.function, each.argnames) for each in reversed(implementations)]


def _place(error: BaseException, function: Callable[..., object]) -> str:
    """Return where, in the file of a function, an error came out of it."""
    file = getattr(getattr(inspect.unwrap(function), "__code__", None), "co_filename", "")
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return f" ({Path(file).name}, line {lines[-1]})" if lines else ""
