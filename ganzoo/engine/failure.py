"""Ends a run whose numbers have gone wrong, and keeps the moment so that it can be studied."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ganzoo.components.trainer import Failure
from ganzoo.engine.files import output_errors, write_atomic, write_text
from ganzoo.engine.run import Run
from ganzoo.errors import DivergedError, OutputError


def stop_if_diverged(run: Run) -> None:
    """Ask the trainer whether an update was not finite; waits for the device.

    Raises:
        DivergedError: one was not; the text says of which network and layer, and where the moment is kept.
    """
    failure = run.trainer.failure()
    if failure is None:
        return
    path = run.directory.path / "failure" / f"step_{failure.step:07d}.pt"
    try:
        if run.processes.first:
            with output_errors(path):
                path.parent.mkdir(exist_ok=True)
            write_atomic(path, lambda partial: _save(moment(run, failure), partial))
        kept = f"the minibatch, the weights and the state of the random numbers of that step are in {path}"
    except OutputError as error:
        kept = f"the minibatch could not be kept: {error}"
    diverged = DivergedError(failure.step, failure.what, kept)
    if run.processes.first and path.exists():
        write_text(path.with_suffix(".txt"), f"{diverged}\n")
    raise diverged


def moment(run: Run, failure: Failure) -> dict[str, Any]:
    """The step that failed: `images`, `labels`, `rng` before it, and the tensors of all `networks`.

    Nothing has moved the weights since; batch statistics have gone on.
    """
    batch = run.feed.drawn_at(run.feed.position - (run.step - failure.step + 1) * run.feed.batch_size)
    return {
        "step": torch.tensor(failure.step),
        "images": batch.images.cpu(),
        **({"labels": batch.labels.cpu()} if batch.labels is not None else {}),
        "rng": failure.rng,
        "networks": {
            name: {key: value.cpu() for key, value in network.state_dict().items()}
            for name, network in run.trainer.networks().items()
        },
    }


def _save(tensors: dict[str, Any], path: Path) -> None:
    try:
        torch.save(tensors, path)
    except RuntimeError as error:  # torch's own writer says no more than that it failed
        raise OSError(f"is the disk full? {error}") from error
