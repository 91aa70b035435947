"""Count the seconds of training."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Clock:
    """Counts the seconds of training: of steps with their data, whoever watches the run.

    It stands still while observers are called, so evaluation, samples, checkpoints and trackers do not count, and
    neither does what comes before the first step.

    Args:
        synchronize: waits until the device has finished all queued work.
    """

    def __init__(self, synchronize: Callable[[], None]) -> None:
        self._synchronize = synchronize
        self.seconds = 0.0
        """Counted so far."""

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count while open."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - begun

    def settle(self) -> None:
        """Wait for the steps that are still queued on the device, and count that; before an observer uses it."""
        with self.running():
            self._synchronize()
