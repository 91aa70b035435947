"""What W&B's errors say, in a line."""

from __future__ import annotations

import os


def first_line(error: BaseException) -> str:
    """What an error says in short, or its kind where it says nothing; and the cure where it is another process."""
    lines = str(error).splitlines()
    said = lines[0] if lines and lines[0] != "<no message>" else type(error).__name__
    if os.environ.get("WANDB_SERVICE") and ("connect to service" in said or "WANDB_SERVICE" in said):
        said += "; the variable WANDB_SERVICE leads to a process of W&B that is not there: unset it"
    return said
