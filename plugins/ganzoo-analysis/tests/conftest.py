"""What the tests share: a recipe that trains in a moment, and the command run in this process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from command_line import command  # noqa: F401
from plugin_fixtures import _no_fsync, _own_cache  # noqa: F401
from tiny_recipe import tiny_recipe

pytest.importorskip("ganzoo_dcgan")

torch.set_num_threads(1)  # networks this small lose more by waiting for each other's threads than they gain


@pytest.fixture(scope="session")
def tables_in() -> Callable[..., dict[str, Any]]:
    """A recipe of made-up images of 16 pixels, with networks of a few thousand weights."""
    return tiny_recipe
