"""Interleaved timing of training loops, so that a busy moment of the machine affects all of them."""

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


class RoundTimer:
    """The last observer of a run: times its rounds, and runs the other loops in between.

    Args:
        run: that it observes.
        timing: records the time.
        steps: steps of a round.
        other_rounds: called after each round.
    """

    def __init__(self, run: Run, timing: LoopTiming, steps: int, other_rounds: Callable[[], None]) -> None:
        self._run = run
        self._timing = timing
        self._steps = steps
        self._other_rounds = other_rounds
        self._start = 0.0

    @hookimpl
    def run_started(self) -> None:
        """Start the clock."""
        self._run.compute.synchronize()
        self._start = time.perf_counter()

    @hookimpl
    def step_ended(self, step: int) -> None:
        """End a round where it is over."""
        if step % self._steps:
            return
        self._run.compute.synchronize()
        seconds = time.perf_counter() - self._start
        self._timing.seconds.append(seconds / (self._steps * self._run.images_per_step))
        self._other_rounds()
        self._run.compute.synchronize()
        self._start = time.perf_counter()
