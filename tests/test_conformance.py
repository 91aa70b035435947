"""Every component that is installed keeps its contract: to register one is to have it tested."""

from __future__ import annotations

from typing import Any

import pytest
from torch import nn

from ganzoo.components.options import DiscriminatorConfig
from ganzoo.components.spec import DatasetInfo
from ganzoo.errors import DataError
from ganzoo.registry.plugin_manager import PluginManager
from ganzoo.registry.registry import Entry
from ganzoo.testing import ConformanceError, check_component, check_export, describe
from ganzoo.testing.fixtures import TinyDiscriminator

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


class Blind(TinyDiscriminator):
    """Has a layer that it does not use."""

    def __init__(self, config: DiscriminatorConfig, *, info: DatasetInfo) -> None:
        super().__init__(config, info=info)
        self.unused = nn.Linear(2, 2)


@pytest.mark.parametrize(
    ("target", "told"),
    [
        (Blind, "no gradient reaches unused.weight, unused.bias: use it in forward, do not make it, or freeze it"),
        (nn.Linear, "its class does not derive from Discriminator"),
        ("no_such_module:Blind", "cannot be imported"),
    ],
)
def test_what_is_wrong_is_told_with_the_name_of_the_component(target: type | str, told: str) -> None:
    entry = Entry("blind", target, DiscriminatorConfig, "tests")
    with pytest.raises(ConformanceError, match=r"^discriminator blind of the plugin tests: ") as raised:
        check_component(entry)
    assert told in str(raised.value)
