"""Run the training loop and tell the observers of each step."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

from ganzoo.errors import Interrupted, TrainingError
from ganzoo.runtime.distributed import DistributedWorld
from ganzoo.runtime.random_state import seed_everything
from ganzoo.storage.summary import SUMMARY, summarize
from ganzoo.terminal import warn
from ganzoo.training.non_finite import fetch_metrics, stop_if_diverged
from ganzoo.training.run import Run

REACHED = 1 << 10
"""What processes tell each other in the place of a signal where the target is reached; above all signals."""
DRIFT = 1e-6
"""Largest difference of two processes' weights, as a share of their L1 norm: different processors round differently."""


def train(run: Run) -> None:
    """Take steps until the run is complete or at its target, fire its events, and write its summary before the last.

    Raises:
        Interrupted: a signal asked for a stop; the observers have saved the state.
        DivergedError: a loss or a gradient is not finite.
        TrainingError: there is not enough memory, or another process of the run is lost.
    """
    saving = ExitStack()
    try:
        with run.noting_interrupts():
            run.fire("run_started")
        with run.stopping_on_signals(saving), run.computing():
            logged, seconds = run.step, run.clock.seconds  # where the speed is measured from
            while run.step < run.total_steps:
                with run.clock.running():
                    if target_reached(run):
                        break
                    with joint_step(run):
                        run.latest_metrics |= run.trainer.train_step(run.loader.next())
                    run.step += 1
                    figures = None
                    if run.step % run.recipe.run.log_every == 0 or run.step == run.total_steps:
                        stop_if_diverged(run)
                        check_drift(run)
                        metrics = run.latest_metrics | run.trainer.expensive_metrics()
                        figures = fetch_metrics(metrics, run.step, run.world)
                        run.compute.synchronize()
                        # A longer run would go on from any other last step.
                        if run.step % run.recipe.run.log_every == 0:
                            run.latest_metrics = {}
                if figures is not None:
                    speed = (run.step - logged) * run.images_per_step / (run.clock.seconds - seconds)
                    figures |= {"epoch": run.epoch, "images_per_second": speed}
                    logged, seconds = run.step, run.clock.seconds
                run.fire("step_ended", step=run.step, metrics=figures)
    except BaseException as error:
        run.error = error
        run.fire("run_failed", error=error)
        raise
    finally:
        with saving:
            if run.world.is_main:
                write_summary(run)
            run.fire("run_ended")


def write_summary(run: Run) -> None:
    """Write `summary.json`, or warn that it cannot be written, since the run is over."""
    try:
        run.directory.write_json(SUMMARY, summarize(run.view, run.directory.read_metrics()))
    except Exception as error:
        warn(f"the summary of the run is missing: {error}")


def target_reached(run: Run) -> bool:
    """Return whether the target is reached, which the process with the observers knows and all are told before a step.

    Raises:
        Interrupted: a process received a signal that asks for a stop.
    """
    signal = run.world.all_reduce_signal(run.stop_signal if run.time_to_target is None else REACHED)
    if signal is None:
        return False
    if signal != REACHED:
        stop_if_diverged(run)
        raise Interrupted(signal)
    run.end_at_target()
    return True


@contextmanager
def joint_step(run: Run) -> Iterator[None]:
    """Take one training step on all processes together.

    The global random numbers, which dropout draws, are seeded from seed, step and rank, so they differ between
    processes. At the end all have the buffers of the first process.
    """
    world = run.world
    if not isinstance(world, DistributedWorld):
        yield
        return
    text = f"step {run.recipe.run.seed} {run.step} {world.rank}"
    seed_everything(int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big"))
    world.in_step = True
    try:
        yield
    finally:
        world.in_step = False
    if buffers := [buffer for module in run.trainer.parts.modules() for buffer in module.buffers()]:
        world.broadcast_(buffers)


def check_drift(run: Run) -> None:
    """Check that all processes have the same weights; waits for the device.

    Raises:
        TrainingError: the weights differ.
    """
    world = run.world
    if not isinstance(world, DistributedWorld):
        return
    weights = [weight.detach() for module in run.trainer.parts.modules() for weight in module.parameters()]
    total = torch.stack([weight.sum(dtype=torch.float64) for weight in weights])
    most, least = world.all_reduce_extremes(total)
    if ((most - least) > DRIFT * torch.stack(torch._foreach_norm(weights, 1))).any():
        raise TrainingError(
            f"step {run.step}: the processes no longer train the same networks: the trainer "
            f'"{run.recipe.trainer.name}", or a penalty, moves weights by what is known in one process alone; '
            f"it has to average gradients over `parts.world` (see Hooks in the documentation)"
        )
