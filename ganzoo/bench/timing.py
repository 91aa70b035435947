"""Interleaved timing of training loops, so that a busy moment of the machine affects all of them."""

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
"""Trains one step and returns its number of real images."""


@dataclass
class LoopTiming:
    """Seconds an image in each round of a training loop; `step` trains one step, None where a run times itself."""

    step: Step | None
    seconds: list[float] = field(default_factory=list)

    def time_round(self, compute: Compute, steps: int) -> None:
        """Time a round of `steps` steps."""
        assert self.step is not None
        compute.synchronize()
        start = time.perf_counter()
        images = sum(self.step() for _ in range(steps))
        compute.synchronize()
        self.seconds.append((time.perf_counter() - start) / images)

    def images_per_second(self) -> dict[str, float]:
        """Return the images a second of the best and the median round."""
        return {"best": 1 / min(self.seconds), "median": 1 / statistics.median(self.seconds)}


class TimedEvents(Events):
    """Events that record the seconds of each observer at each step."""

    def __init__(self, events: Events) -> None:
        super().__init__(events._manager, events._warn)
        self.at_step: dict[int, dict[str, float]] = defaultdict(dict)

    def call(self, implementation: Any, event: str, arguments: dict[str, Any]) -> None:
        """Call one observer and record its time."""
        start = time.perf_counter()
        super().call(implementation, event, arguments)
        if event == "step_ended":
            self.at_step[arguments["step"]][implementation.plugin_name] = time.perf_counter() - start


class RoundTimer:
    """The last observer of a run: times its rounds, and runs the other loops in between.

    Args:
        timing: records the time.
        steps: steps of a round.
        other_rounds: called after each round.
    """

    def __init__(self, timing: LoopTiming, steps: int, other_rounds: Callable[[], None]) -> None:
        self._timing = timing
        self._steps = steps
        self._other_rounds = other_rounds
        self._start = 0.0

    @hookimpl
    def run_started(self, run: Run) -> None:
        """Start the clock."""
        run.compute.synchronize()
        self._start = time.perf_counter()

    @hookimpl
    def step_ended(self, run: Run, step: int) -> None:
        """End a round where it is over."""
        if step % self._steps:
            return
        run.compute.synchronize()
        seconds = time.perf_counter() - self._start
        self._timing.seconds.append(seconds / (self._steps * run.images_per_step))
        self._other_rounds()
        run.compute.synchronize()
        self._start = time.perf_counter()
