"""Notice updates that are not finite, keep them from the weights, and end the run with a dump of the step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ganzoo.components.trainer import Failure
from ganzoo.errors import DivergedError, OutputError
from ganzoo.storage.disk import output_errors, write_atomic, write_text
from ganzoo.training.run import Run


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
        if run.world.is_main:
            with output_errors(path):
                path.parent.mkdir(exist_ok=True)
            write_atomic(path, lambda partial: _save(moment(run, failure), partial))
        kept = f"the minibatch, the weights and the state of the random numbers of that step are in {path}"
    except OutputError as error:
        kept = f"the minibatch could not be kept: {error}"
    diverged = DivergedError(failure.step, failure.what, kept)
    if run.world.is_main and path.exists():
        write_text(path.with_suffix(".txt"), f"{diverged}\n")
    raise diverged


def moment(run: Run, failure: Failure) -> dict[str, Any]:
    """The step that failed: `images`, `labels`, `rng` before it, and the tensors of all `networks`.

    Nothing has moved the weights since; batch statistics have gone on.
    """
    batch = run.loader.drawn_at(run.loader.position - (run.step - failure.step + 1) * run.loader.batch_size)
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


KEPT = 1000
"""Steps whose figures wait on the device at most; then they are looked at, whether anybody asked or not."""


@dataclass(frozen=True)
class Update:
    """What one update was made from: the loss and the norm of each parameter's gradient, still on the device."""

    network: str
    step: int
    rng: Tensor
    parameters: Sequence[str]
    figures: Tensor


class NonFiniteGuard:
    """Raised on the device by the first update that is not finite; from then on no weight moves.

    The device is never waited for but in `failure`, which is asked at log points and before a checkpoint
    is saved. What is known of the updates is kept until then.
    """

    def __init__(self, device: torch.device) -> None:
        self.raised = torch.zeros((), device=device)
        """1 where an update was not finite, else 0; optimizers know it as `found_inf`."""
        self._updates: list[Update] = []
        self._failure: Failure | None = None

    def watch(self, update: Update) -> None:
        """Take in an update that is about to be made."""
        self.note(update)
        # 0 · x is 0 for every finite x and NaN for the others.
        self.raised.masked_fill_(update.figures.mul(0).sum().isnan(), 1.0)

    def note(self, update: Update) -> None:
        """Keep what is known of an update, whose look for what is not finite is done already or soon."""
        if self._updates and update.step - self._updates[0].step >= KEPT:
            self.failure()
        self._updates.append(update)

    def take(self) -> list[Update]:
        """The updates that were noted since the device was last waited for, and forget them."""
        updates, self._updates = self._updates, []
        return updates

    def failure(self) -> Failure | None:
        """The first update that was not finite; waits for the device."""
        if self._failure is None and self.raised.item():
            self._failure = next(filter(None, map(explain, self._updates)))
        self._updates.clear()
        return self._failure


def explain(update: Update) -> Failure | None:
    """What was not finite in an update, if anything."""
    loss, *norms = update.figures.tolist()
    wrong = [(name, norm) for name, norm in zip(update.parameters, norms, strict=True) if not math.isfinite(norm)]
    if not math.isfinite(loss):
        what = f"the loss of the {update.network} ({loss}) is"
    elif wrong:
        name, norm = wrong[-1]  # the backward pass comes to it first
        others = f", {len(wrong)} of {len(norms)} tensors" if len(wrong) > 1 else ""
        what = f"the gradient of {name} (norm {norm}{others}) is"
    else:
        return None
    return Failure(update.step, what, update.rng)
