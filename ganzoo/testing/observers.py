"""Conformance check of observers and trackers."""

from __future__ import annotations

from typing import Any

from ganzoo.errors import PluginError
from ganzoo.registry.plugin_manager import check_hooks
from ganzoo.registry.registry import Entry
from ganzoo.testing.fixtures import ConformanceError, require, small_options


def check_observer(entry: Entry[Any], **options: Any) -> None:
    """Check that it is built from its options and that its marked methods are hooks.

    Raises:
        ConformanceError: with what to change.
    """
    observer = entry.load()(small_options(entry, options))
    try:
        check_hooks(observer)
    except PluginError as error:
        raise ConformanceError(str(error)) from error
    hears = [name for name in dir(type(observer)) if hasattr(getattr(type(observer), name), "ganzoo_impl")]
    require(hears, "hears of no event: mark methods such as step_ended with @hookimpl")
