"""What the tests share: a recipe that trains in a moment, and the command run in this process."""

from __future__ import annotations

import pytest
from command_line import command  # noqa: F401
from plugin_fixtures import _no_fsync, _one_thread, _own_cache  # noqa: F401
from recipe_fixtures import manager, parse, recipe_file, tables, tables_in  # noqa: F401

pytest.importorskip("ganzoo_dcgan")
