"""Coordinate the processes of one run around a training step."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from ganzoo.errors import LostProcessError, TrainingError
from ganzoo.runtime.distributed import DistributedWorld
from ganzoo.runtime.random_state import seed_everything

if TYPE_CHECKING:
    from ganzoo.training.run import Run


DRIFT = 1e-6
"""Largest difference of two processes' weights, as a share of their L1 norm: different processors round differently."""


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


@contextmanager
def lost_processes(run: Run) -> Iterator[None]:
    """Add the step and how to resume to the error of a lost process.

    Raises:
        LostProcessError: a process was lost.
    """
    try:
        yield
    except LostProcessError as error:
        raise LostProcessError(
            f"step {run.step + 1}: {error}: `ganzoo resume {run.directory}`, started as this run was, goes on from its "
            "last checkpoint"
        ) from error
