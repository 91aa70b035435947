"""Save the state of a run as a checkpoint, and restore a run from one."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from ganzoo.errors import CheckpointError
from ganzoo.runtime.random_state import random_state, set_random_state
from ganzoo.storage.checkpoint import (
    STATE,
    Checkpoint,
    _remove,
    checkpoint_folders,
    load_network,
    superseded,
    write_checkpoint,
)
from ganzoo.storage.disk import output_errors
from ganzoo.training.non_finite import check_weights, stop_if_diverged
from ganzoo.training.run import Run


def save_checkpoint(run: Run, spared: Collection[int] = ()) -> Path:
    """Save the state of `run` in its run directory, and remove the checkpoints that its recipe does not keep.

    Args:
        run: between two steps.
        spared: steps whose checkpoints are kept in any case.

    Raises:
        OutputError: it could not be written; the checkpoints before it are untouched.
        DivergedError: a loss, gradient or weight is not finite.
    """
    stop_if_diverged(run)
    networks = {name: network.state_dict() for name, network in run.trainer.networks().items()}
    check_weights(networks, run.step)
    path = write_checkpoint(
        run.directory.checkpoints,
        run.step,
        networks,
        info=run.info,
        plugin_versions=run.plugin_versions,
        state={
            "trainer": run.trainer.state_dict(),
            "position": run.loader.position,
            "random": random_state(run.compute.device, run.trainer.parts.rng),
        },
    )
    with output_errors(path):
        for old in superseded(checkpoint_folders(run.directory.checkpoints), run.step, run.recipe.checkpoint, spared):
            _remove(old)
    return path


def restore(run: Run, checkpoint: Checkpoint) -> None:
    """Restore the state of `run` from a checkpoint, to the bit.

    Raises:
        CheckpointError: it is of another recipe, or lacks a part.
    """
    for name, network in run.trainer.networks().items():
        load_network(network, checkpoint, name)
    state = checkpoint.state()
    try:
        run.trainer.load_state_dict(state["trainer"])
        run.loader.seek(state["position"])
        set_random_state(state["random"], run.compute.device, run.trainer.parts.rng)
    except Exception as error:  # of any kind: the content was not checked before
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise CheckpointError(f"{checkpoint.path / STATE}: does not fit the recipe: {reason}") from error
    run.step = checkpoint.step
