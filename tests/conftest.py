"""What many tests need: a recipe that trains in a moment, and the command run in this process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import command  # noqa: F401
from recipe_fixtures import manager, parse, recipe_file, tables, tables_in  # noqa: F401
from wandb_server import KEY, Server

torch.set_num_threads(1)  # networks this small lose more by waiting for each other's threads than they gain


def pytest_configure(config: pytest.Config) -> None:
    """Take SIGINT as a terminal gives it, and hide GPUs unless their tests are asked for (`-m cuda`).

    A shell's background job has SIGINT ignored, and so would every child process. Figures are those of a CPU.
    """
    if "cuda" not in config.option.markexpr:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep packs out of the user's cache; one folder for all tests, so that each pack is made once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GANZOO_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def no_wandb_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No key, account or setting of W&B of the one who runs the tests."""
    # Not to be restored after the test: it leads to W&B's process of an earlier one, which may have ended by then.
    os.environ.pop("WANDB_SERVICE", None)
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


@pytest.fixture
def server(no_wandb_account: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server in place of W&B's, with a key for it."""
    with Server() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        yield server
        server.shutdown()


@pytest.fixture
def process() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start `ganzoo` with these arguments as a process of its own, which does not outlive the test."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str | Path, **options: Any) -> subprocess.Popen[str]:
        # WANDB_SERVICE leads to W&B's process of an earlier test, which may have ended.
        environment = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
        environment |= {"OMP_NUM_THREADS": "1"}
        child = subprocess.Popen(
            [sys.executable, "-m", "ganzoo", *map(str, arguments)],
            text=True,
            **{
                "env": environment,
                "stdout": subprocess.PIPE,
                "stderr": subprocess.PIPE,
                **options,
            },
        )
        started.append(child)
        return child

    yield start
    for child in started:
        if child.poll() is None:
            child.kill()
        child.communicate()
