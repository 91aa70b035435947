"""Starts programs in several processes, by torchrun or forked, for the tests."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from forked import Forked
from torch.distributed import TCPStore


def start(count: int, *arguments: str | Path, **options: Any) -> subprocess.Popen[str]:
    """`torchrun --nproc-per-node COUNT ARGUMENTS`, in a session of its own, on a free port."""
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)),
            *map(str, arguments),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        **options,
    )


class Ranks:
    """So many forked processes of a program, which find each other as torchrun's do; nobody watches over them."""

    def __init__(self, count: int, *arguments: str | Path) -> None:
        self.store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        common = {
            "OMP_NUM_THREADS": "1",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(self.store.port),
            "WORLD_SIZE": str(count),
            "LOCAL_WORLD_SIZE": str(count),
        }
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.processes = [
            Forked(*arguments, env={**os.environ, **common, "RANK": rank, "LOCAL_RANK": rank}, **streams)
            for rank in map(str, range(count))
        ]

    @property
    def returncode(self) -> int | None:
        """Zero where all have ended so."""
        return next((each.returncode for each in self.processes if each.returncode != 0), 0)

    def communicate(self, timeout: float) -> tuple[str, str]:
        """Wait for all; returns what they printed, one after the other."""
        with ThreadPoolExecutor() as pool:
            said = [*pool.map(lambda each: each.communicate(timeout=timeout), self.processes)]
        return "".join(out for out, _ in said), "".join(err for _, err in said)

    def kill(self) -> None:
        """End those that have not ended."""
        for each in self.processes:
            each.kill()
