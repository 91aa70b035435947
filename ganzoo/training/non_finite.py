"""Detect updates that are not finite, keep them from the weights, and end the run with a dump of the step."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ganzoo.components.trainer import Failure
from ganzoo.components.world import World
from ganzoo.errors import DivergedError, OutputError
from ganzoo.storage.disk import output_errors, write_atomic, write_text
from ganzoo.training.run import Run

KEPT = 1000
"""Most steps whose updates are kept on the device before they are checked."""


@dataclass(frozen=True)
class Update:
    """An update of a network: the loss and the norm of each parameter's gradient, still on the device."""

    network: str
    step: int
    rng: Tensor
    parameters: Sequence[str]
    loss_and_norms: Tensor

    def failure(self) -> Failure | None:
        """Return what was not finite in this update, if anything; waits for the device."""
        loss, *norms = self.loss_and_norms.tolist()
        wrong = [(name, norm) for name, norm in zip(self.parameters, norms, strict=True) if not math.isfinite(norm)]
        if not math.isfinite(loss):
            what = f"the loss of the {self.network} ({loss}) is"
        elif wrong:
            name, norm = wrong[-1]  # the backward pass reaches it first
            others = f", {len(wrong)} of {len(norms)} tensors" if len(wrong) > 1 else ""
            what = f"the gradient of {name} (norm {norm}{others}) is"
        else:
            return None
        return Failure(self.step, what, self.rng)


class NonFiniteGuard:
    """Keeps updates that are not finite from the weights: after the first one no weight changes.

    Only `failure` waits for the device; it is called at log points and before a checkpoint is saved. The updates
    since then are kept on the device.
    """

    def __init__(self, device: torch.device) -> None:
        self.found_inf = torch.zeros((), device=device)
        """1 where an update was not finite, else 0, as torch's fused optimizers take it."""
        self._updates: list[Update] = []
        self._failure: Failure | None = None

    def check(self, update: Update) -> None:
        """Check an update that is about to be made, without waiting for the device."""
        self._keep(update)
        # 0 · x is 0 for every finite x and NaN for the others.
        self.found_inf.masked_fill_(update.loss_and_norms.mul(0).sum().isnan(), 1.0)

    def recorded(self, now: Callable[[], tuple[int, Tensor]]) -> Callable[[], None]:
        """Return what to call after each replay of the updates that were just recorded in a CUDA graph.

        Args:
            now: returns the number of the training step and the state of the random numbers at its beginning.
        """
        updates, self._updates = self._updates, []

        def after_replay() -> None:
            step, rng = now()
            for update in updates:
                self._keep(replace(update, step=step, rng=rng, loss_and_norms=update.loss_and_norms.clone()))

        return after_replay

    def failure(self) -> Failure | None:
        """Return the first update that was not finite; waits for the device."""
        if self._failure is None and self.found_inf.item():
            self._failure = next(filter(None, (update.failure() for update in self._updates)))
        self._updates.clear()
        return self._failure

    def _keep(self, update: Update) -> None:
        if self._updates and update.step - self._updates[0].step >= KEPT:
            self.failure()
        self._updates.append(update)


def stop_if_diverged(run: Run) -> None:
    """End the run if an update was not finite; waits for the device.

    Raises:
        DivergedError: one was not; the text names the network and layer, and the file with the dump of the step.
    """
    failure = run.trainer.failure()
    if failure is None:
        return
    path = run.directory.path / "failure" / f"step_{failure.step:07d}.pt"
    try:
        if run.world.is_main:
            with output_errors(path):
                path.parent.mkdir(exist_ok=True)
            write_atomic(path, lambda partial: torch.save(dump(run, failure), partial))
        kept = f"the minibatch, the weights and the state of the random numbers of that step are in {path}"
    except OutputError as error:
        kept = f"the minibatch could not be kept: {error}"
    diverged = DivergedError(failure.step, failure.what, kept)
    if run.world.is_main and path.exists():
        write_text(path.with_suffix(".txt"), f"{diverged}\n")
    raise diverged


def dump(run: Run, failure: Failure) -> dict[str, Any]:
    """Return the step that failed: `images`, `labels`, `condition`, `rng` before it, and the tensors of all `networks`.

    The weights have not changed since; batch statistics have.
    """
    batch = run.loader.drawn_at(run.loader.position - (run.step - failure.step + 1) * run.loader.batch_size)
    minibatch = {"images": batch.real, "labels": batch.labels, "condition": batch.condition}
    return {
        "step": torch.tensor(failure.step),
        **{name: tensor.cpu() for name, tensor in minibatch.items() if tensor is not None},
        "rng": failure.rng,
        "networks": {
            name: {key: value.cpu() for key, value in network.state_dict().items()}
            for name, network in run.trainer.networks().items()
        },
    }


def fetch_metrics(metrics: Mapping[str, Tensor | float], step: int, world: World | None = None) -> dict[str, float]:
    """Return the metrics of a step, averaged over the processes and fetched from the device together.

    Raises:
        DivergedError: one is not finite.
    """
    device = next((value.device for value in metrics.values() if isinstance(value, Tensor)), torch.device("cpu"))
    stacked = torch.stack([torch.as_tensor(value, device=device).detach().float() for value in metrics.values()])
    (world or World()).all_reduce_mean_([stacked])
    values = stacked.tolist()
    # fp32 holds seven digits; more would show 2e-4 as 0.00019999999494757503
    fetched = {name: float(f"{value:.7g}") for name, value in zip(metrics, values, strict=True)}
    wrong = [name for name, value in fetched.items() if not math.isfinite(value)]
    if wrong:
        raise DivergedError(step, f"{', '.join(wrong)} {'is' if len(wrong) == 1 else 'are'}")
    return fetched
