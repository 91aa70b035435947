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
        for name, plugin in plugins:
            self._hooks.register(plugin, name)

    def register(self, observer: object, name: str | None = None) -> None:
        """Add an observer, which is called before those registered earlier.

        Raises:
            PluginError: it marks a function that is no hook, or a wrapper.
        """
        taken = dict(self._hooks.list_name_plugin())
        self._hooks.register(observer, name or unused_name(type(observer).__name__, taken))

    def register_standard(self, observers: Sequence[object]) -> None:
        """Add ganzoo's own observers, which are called after all others and in this order."""
        others = self._hooks.list_name_plugin()
        self._hooks = HookManager()
        for observer in reversed(observers):
            self.register(observer)
        for name, plugin in others:
            self.register(plugin, name)

    def fire(self, event: str, **arguments: Any) -> None:
        """Call `event` on every observer; dictionaries are read-only, and each gets its own copy of the images.

        Raises:
            TypeError: there is no such event, or it lacks an argument, for which its observers would be left out.
        """
        hook = getattr(self._hooks.hook, event, None)
        if hook is None or hook.spec is None:
            raise TypeError(f"there is no event {event!r}")
        if lacking := sorted({*hook.spec.argnames} - arguments.keys()):
            raise TypeError(f"the event {event} is fired without {' and '.join(lacking)}")
        for name, value in arguments.items():
            if type(value) is dict:
                arguments[name] = MappingProxyType(dict(value))
        images = arguments.get("images")
        for each in reversed(hook.get_hookimpls()):
            if each.plugin_name in self._muted:
                continue
            if images is not None:
                arguments["images"] = images.clone()
            try:
                each.function(*(arguments[name] for name in each.argnames))
            except GanzooError:
                raise
            except (Exception, SystemExit) as error:
                self._muted.add(each.plugin_name)
                notes = "".join(f"; {note}" for note in getattr(error, "__notes__", ()))
                self._warn(
                    f"the observer {each.plugin_name} failed in {event} and is left out from here on: "
                    f"{type(error).__name__}: {error}{_place(error, each.function)}{notes}"
                )


def _place(error: BaseException, function: Callable[..., object]) -> str:
    """Return where, in the file of a function, an error came out of it."""
    file = getattr(getattr(inspect.unwrap(function), "__code__", None), "co_filename", "")
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return f" ({Path(file).name}, line {lines[-1]})" if lines else ""
