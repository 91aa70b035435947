"""Time several ways to train in turns, so that other load on the machine slows all of them alike."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from ganzoo.registry.hookspecs import hookimpl
from ganzoo.runtime.device import Compute
from ganzoo.training.events import Call, Events
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
    """Events that record the seconds of each observer at each step."""

    def __init__(self, plugins: Iterable[tuple[str, Any]], warn: Callable[[str], None]) -> None:
        super().__init__(plugins, warn)
        self.at_step: dict[int, dict[str, float]] = defaultdict(dict)
        self._step = 0

    def fire(self, event: str, **arguments: Any) -> None:
        """Call `event` on every observer, and record its time where it is `step_ended`."""
        if event == "step_ended":
            self._step = arguments["step"]
        super().fire(event, **arguments)

    def calls(self, event: str) -> list[Call]:
        """List what implements `event`, timed where it is `step_ended`."""
        calls = super().calls(event)
        if event != "step_ended":
            return calls
        return [(observer, self._timed(observer, function), names) for observer, function, names in calls]

    def _timed(self, observer: str, function: Callable[..., object]) -> Callable[..., object]:
        def timed(*arguments: object) -> None:
            start = time.perf_counter()
            function(*arguments)
            self.at_step[self._step][observer] = time.perf_counter() - start

        return timed


class Pacer:
    """The last observer of a run: times its turns, and lets the others have theirs in between.

    Args:
        run: that it observes.
        contestant: the run's times.
        steps: a turn has.
        others: called after each turn.
    """

    def __init__(self, run: Run, contestant: Contestant, steps: int, others: Callable[[], None]) -> None:
        self._run = run
        self._contestant = contestant
        self._steps = steps
        self._others = others
        self._start = 0.0

    @hookimpl
    def run_started(self) -> None:
        """Start the clock."""
        self._run.compute.synchronize()
        self._start = time.perf_counter()

    @hookimpl
    def step_ended(self, step: int) -> None:
        """End a turn after its last step."""
        if step % self._steps:
            return
        self._run.compute.synchronize()
        seconds = time.perf_counter() - self._start
        self._contestant.seconds.append(seconds / (self._steps * self._run.images_per_step))
        self._others()
        self._run.compute.synchronize()
        self._start = time.perf_counter()
