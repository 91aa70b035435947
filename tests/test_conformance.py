"""Every component that is installed keeps its contract: to register one is to have it tested."""

from __future__ import annotations

from typing import Any

import pytest

from ganzoo.errors import DataError
from ganzoo.registry.plugin_manager import PluginManager
from ganzoo.registry.registry import Entry
from ganzoo.testing import check_component, check_export, describe

REGISTRIES = PluginManager().registries
ENTRIES = [entry for registry in REGISTRIES.all() for entry in registry]


@pytest.mark.parametrize("entry", ENTRIES, ids=describe)
def test_component(entry: Entry[Any]) -> None:
    try:
        check_component(entry)
    except DataError as error:
        pytest.skip(str(error))


@pytest.mark.slow
@pytest.mark.parametrize("entry", list(REGISTRIES.generators), ids=describe)
def test_export(entry: Entry[Any]) -> None:
    check_export(entry)
