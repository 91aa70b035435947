"""Starts programs in several processes by torchrun, for the tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any


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
