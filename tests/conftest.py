"""What many tests need: a recipe that trains in a moment, and the command run in this process."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest
import torch
from command_line import command, forked, process  # noqa: F401
from plugin_fixtures import _no_fsync, _own_cache  # noqa: F401
from recipe_fixtures import manager, parse, recipe_file, tables, tables_in  # noqa: F401
from wandb_server import no_wandb_account, server  # noqa: F401

torch.set_num_threads(1)  # networks this small lose more by waiting for each other's threads than they gain


def pytest_configure(config: pytest.Config) -> None:
    """Take SIGINT as a terminal gives it, and hide GPUs unless their tests are asked for (`-m cuda`).

    A shell's background job has SIGINT ignored, and so would every child process. Figures are those of a CPU.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the workers and of processes that tests start, as of this one
    if "cuda" not in config.option.markexpr:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give each worker one stretch of the tests, so that a module's fixtures are made once, and the idle one a part."""
    from xdist.scheduler import WorkStealingScheduling

    return WorkStealingScheduling(config, log) if config.getoption("dist") == "load" else None
