"""The signals that end a run or a sweep so that it can be resumed."""

from __future__ import annotations

import signal
from typing import Any


def heeded_signals() -> dict[int, Any]:
    """Return the signals that ask for a stop, each with its handler, without those that are ignored, as by nohup."""
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    handlers = {int(number): signal.getsignal(number) for number in numbers}
    return {number: handler for number, handler in handlers.items() if handler is not signal.SIG_IGN}


def ends_at_once(first: int, further: int) -> bool:
    """Return whether a further signal asks for an end without saving: Ctrl-C, and any after Ctrl-C.

    SIGTERM and SIGHUP come more than once for one request: `timeout` sends two, and where a terminal closes the shell
    and the system send one each.
    """
    return signal.SIGINT in (first, further)
