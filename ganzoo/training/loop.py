"""Run the training loop and tell the observers of each step."""

from __future__ import annotations

import time

from ganzoo.errors import Interrupted
from ganzoo.runtime.memory import memory_errors
from ganzoo.storage.summary import SUMMARY, summarize
from ganzoo.terminal import warn
from ganzoo.training.non_finite import fetch_metrics, stop_if_diverged
from ganzoo.training.parallel import check_drift, joint_step, lost_processes
from ganzoo.training.run import Run


def train(run: Run) -> None:
    """Take steps until the run is complete, fire its events, and write its summary before the last of them.

    Raises:
        Interrupted: a signal asked for a stop; the observers have saved the state.
        DivergedError: a loss or a gradient is not finite.
        TrainingError: there is not enough memory, or another process of the run is lost.
    """
    batch_size = run.recipe.trainer.batch_size
    run.start_clock()
    try:
        with run.noting_interrupts():
            run.fire("run_started")
        with (
            run.stopping_on_signals(),
            memory_errors(run.compute.device, batch_size, lambda: f"in step {run.step + 1}"),
            lost_processes(run),
        ):
            clock = Clock(run)
            while run.step < run.total_steps:
                if (signal := run.world.all_reduce_signal(run.stop_signal)) is not None:
                    stop_if_diverged(run)
                    raise Interrupted(signal)
                with joint_step(run):
                    run.latest_metrics |= run.trainer.train_step(run.loader.next())
                run.step += 1
                figures = None
                if run.step % run.recipe.run.log_every == 0 or run.step == run.total_steps:
                    stop_if_diverged(run)
                    check_drift(run)
                    metrics = run.latest_metrics | run.trainer.expensive_metrics()
                    figures = fetch_metrics(metrics, run.step, run.world) | clock.lap()
                    if run.step % run.recipe.run.log_every == 0:  # a longer run would go on from any other last step
                        run.latest_metrics = {}
                run.fire("step_ended", step=run.step, metrics=figures)
    except BaseException as error:
        run.error = error
        run.fire("run_failed", error=error)
        raise
    finally:
        if run.world.is_main:
            write_summary(run)
        run.fire("run_ended")


def write_summary(run: Run) -> None:
    """Write `summary.json`, or warn that it cannot be written, since the run is over."""
    try:
        run.directory.write_json(SUMMARY, summarize(run, run.directory.read_metrics()))
    except Exception as error:
        warn(f"the summary of the run is missing: {error}")


class Clock:
    """Measures the speed of the run between two log points."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._start()

    def lap(self) -> dict[str, float]:
        """Return the epoch and the images a second since the last lap."""
        self._run.compute.synchronize()
        seconds = time.perf_counter() - self._time
        images = (self._run.step - self._step) * self._run.images_per_step
        self._start()
        return {"epoch": self._run.epoch, "images_per_second": images / seconds}

    def _start(self) -> None:
        self._time = time.perf_counter()
        self._step = self._run.step
