"""Ways to train that take turns on one machine, so that a busy moment is so for all of them."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ganzoo.registry.hookspecs import hookimpl
from ganzoo.runtime.device import Compute
from ganzoo.training.events import Events
from ganzoo.training.run import Run

Step = Callable[[], int]
"""Trains one step and returns how many real images it took."""


@dataclass
class Contestant:
    """One way to train, and the seconds an image that each of its turns took."""

    step: Step | None
    seconds: list[float] = field(default_factory=list)

    def turn(self, compute: Compute, steps: int) -> None:
        """Take `steps` steps by the clock."""
        assert self.step is not None
        compute.synchronize()
        start = time.perf_counter()
        images = sum(self.step() for _ in range(steps))
        compute.synchronize()
        self.seconds.append((time.perf_counter() - start) / images)

    def images_per_second(self) -> dict[str, float]:
        """The best turn and the median one."""
        return {"best": 1 / min(self.seconds), "median": 1 / statistics.median(self.seconds)}


class TimedEvents(Events):
    """Events that keep the seconds which each observer took at each step."""

    def __init__(self, events: Events) -> None:
        super().__init__(events._manager, events._warn)
        self.at_step: dict[int, dict[str, float]] = defaultdict(dict)

    def call(self, implementation: Any, event: str, arguments: dict[str, Any]) -> None:
        """Call one observer by the clock."""
        start = time.perf_counter()
        super().call(implementation, event, arguments)
        if event == "step_ended":
            self.at_step[arguments["step"]][implementation.plugin_name] = time.perf_counter() - start


class Pacer:
    """The last observer of a run: counts its turns, and lets the others have theirs in between.

    Args:
        run: as a contestant; it goes on where it was.
        contestant: keeps the time.
        steps: a turn has.
        others: called after each turn.
    """

    def __init__(self, contestant: Contestant, steps: int, others: Callable[[], None]) -> None:
        self._contestant = contestant
        self._steps = steps
        self._others = others
        self._start = 0.0

    @hookimpl
    def run_started(self, run: Run) -> None:
        """Start the clock."""
        run.compute.synchronize()
        self._start = time.perf_counter()

    @hookimpl
    def step_ended(self, run: Run, step: int) -> None:
        """End a turn where it is over."""
        if step % self._steps:
            return
        run.compute.synchronize()
        seconds = time.perf_counter() - self._start
        self._contestant.seconds.append(seconds / (self._steps * run.images_per_step))
        self._others()
        run.compute.synchronize()
        self._start = time.perf_counter()
