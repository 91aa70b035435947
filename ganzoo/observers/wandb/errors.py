"""What W&B's errors say, in a line."""

from __future__ import annotations

import os

from ganzoo.errors import first_line


def in_short(error: BaseException) -> str:
    """What an error says in short, or its kind where it says nothing; and the cure where it is another process."""
    said = first_line(error)
    if said == "<no message>":
        said = type(error).__name__
    if os.environ.get("WANDB_SERVICE") and ("connect to service" in said or "WANDB_SERVICE" in said):
        said += "; the variable WANDB_SERVICE leads to a process of W&B that is not there: unset it"
    return said
