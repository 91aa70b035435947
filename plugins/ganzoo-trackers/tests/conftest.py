"""What the tests share: a recipe that trains in a moment, the command, and no account of W&B."""

from __future__ import annotations

import pytest
from command_line import command, forked, process  # noqa: F401
from made_runs import make_run  # noqa: F401
from plugin_fixtures import _no_fsync, _one_thread, _own_cache  # noqa: F401
from recipe_fixtures import manager, recipe_file, tables, tables_in  # noqa: F401
from wandb_server import no_wandb_account, server  # noqa: F401

pytest.importorskip("ganzoo_dcgan")
