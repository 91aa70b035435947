"""The clock of the speedrun, which both sides print in their logs: it runs from the start of the process."""

from __future__ import annotations

import os
import time
from pathlib import Path


def since_start() -> float:
    """Return the seconds since the kernel started this process."""
    fields = Path("/proc/self/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    started = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started
