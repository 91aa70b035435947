"""Sees a run go wrong, says so with the remedy to try, and ends the run if it is told to; it changes nothing."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ganzoo.components.observer import Alert
from ganzoo.errors import DivergedError, TrainingError
from ganzoo.registry.hookspecs import hookimpl

if TYPE_CHECKING:
    from torch import Tensor

    from ganzoo.training.run import Run

LOOKED_AT = 500
"""Real images whose differences are the measure for those of samples."""
FIRST_STEPS = 50
"""In which no run is judged, however short it is: nothing can be learnt by then."""
IN_A_ROW = 2
"""Grids, or evaluations, that must be bad one after the other; there are few of them."""

REMEDIES = {
    "discriminator_wins": "a lower trainer.discriminator_optimizer.lr, a penalty such as r1, or label smoothing",
    "gradient_vanishes": 'loss.name = "non_saturating" where it is minimax, a lower '
    "trainer.discriminator_optimizer.lr, or hinge or wasserstein with a gradient penalty",
    "samples_alike": "lower learning rates, a penalty such as r1 or gradient_penalty with the wasserstein loss, or the "
    "unrolled trainer; the checkpoints from before are still good",
    "classes_missing": "lower learning rates, a larger batch, a conditional generator, or the unrolled trainer",
    "not_finite": 'a lower learning rate, a penalty such as r1, or device.precision = "fp32"',
}


class StoppedByWatchdog(TrainingError):
    """The watchdog was told to end a run that goes wrong."""


class Watchdog:
    """Watches log points, grids, scores and the end of a run; fires `alert_raised` once for each thing that begins.

    What it looks at is made by others: the trainer's figures, the grids of samples, the evaluations.
    """

    def __init__(self) -> None:
        self._in_a_row: dict[str, int] = {}
        self._norms: list[float] = []
        self._real_spread: float | None = None
        self._most_classes = 0.0
        self._most_spread = 0.0
        self._first: Alert | None = None

    @hookimpl
    def step_ended(self, run: Run, step: int, metrics: Mapping[str, float] | None) -> None:
        """Look at the discriminator's mind and the generator's gradient; end the run if it is to be.

        Raises:
            StoppedByWatchdog: there was an alert, and `watchdog.stop` is set.
        """
        if metrics is not None:
            self._look_at_discriminator(run, step, metrics)
            self._look_at_gradient(run, step, metrics)
        if self._first is not None and run.recipe.watchdog.stop and step < run.total_steps:
            raise StoppedByWatchdog(
                f"step {step}: stopped by the watchdog (watchdog.stop): {self._first.text}; try {self._first.remedy}"
            )

    @hookimpl
    def samples_ready(self, run: Run, step: int, images: Tensor) -> None:
        """Compare how much the samples of the grid differ with how much real images do."""
        from ganzoo.evaluation.metric_functions import spread

        if len(images) < 2:
            return
        share = spread(images) / max(self._spread_of_real(run), 1e-12)
        due = 1.0 if _half_over(run, step) else min(1.0, self._most_spread)
        self._most_spread = max(self._most_spread, share)
        bad = not share >= run.recipe.watchdog.least_diversity * due  # NaN is bad too
        text = f"the samples are almost the same: they differ by {share:.2g} of what real images differ by"
        self._judge(run, step, "samples_alike", bad, text, IN_A_ROW)

    @hookimpl
    def metrics_evaluated(self, run: Run, step: int, scores: Mapping[str, float]) -> None:
        """Look for classes that are gone, and for scores that are no numbers."""
        wrong = [name for name, value in scores.items() if not math.isfinite(value)]
        self._judge(run, step, "not_finite", bool(wrong), f"the scores {', '.join(wrong)} are not finite", 1)
        if "classes_covered" in scores:
            covered = scores["classes_covered"]
            due = run.info.num_classes if _half_over(run, step) else self._most_classes
            self._most_classes = max(self._most_classes, covered)
            bad = covered < run.recipe.watchdog.least_coverage * due
            text = f"only {covered:.0f} of {run.info.num_classes} classes are among the samples"
            self._judge(run, step, "classes_missing", bad, text, IN_A_ROW)

    @hookimpl
    def run_failed(self, run: Run, error: BaseException) -> None:
        """Tell of a run that ended by numbers that are none."""
        if isinstance(error, DivergedError):
            self._raise(run, run.step, "not_finite", str(error).partition(" not finite")[0] + " not finite any more")

    def _look_at_discriminator(self, run: Run, step: int, metrics: Mapping[str, float]) -> None:
        """Whether it is sure of all images; a critic's figures are no probabilities, and say nothing of that."""
        real, fake = metrics.get("probability/real"), metrics.get("probability/fake")
        if real is None or fake is None or not run.trainer.parts.loss.outputs_probabilities:
            return
        sure = run.recipe.watchdog.discriminator_wins
        text = f"the discriminator has won: it gives real images {real:.3f} and generated ones {fake:.2g}"
        bad = real >= sure and fake <= 1 - sure
        self._judge(run, step, "discriminator_wins", bad, text, run.recipe.watchdog.patience)

    def _look_at_gradient(self, run: Run, step: int, metrics: Mapping[str, float]) -> None:
        """Whether what the generator learns from has shrunk to next to nothing."""
        norm = metrics.get("gradient_norm/generator")
        if norm is None:
            return
        usual = statistics.median(self._norms) if self._norms else norm
        bad = norm <= run.recipe.watchdog.least_gradient * usual
        if not bad:
            self._norms.append(norm)
        text = f"the generator learns nothing any more: its gradient's norm is {norm:.2g}, where {usual:.2g} is usual"
        self._judge(run, step, "gradient_vanishes", bad, text, run.recipe.watchdog.patience)

    def _judge(self, run: Run, step: int, kind: str, bad: bool, text: str, in_a_row: int) -> None:
        """Raise an alert when something has been bad so often in a row; once, until it was good again."""
        if step < max(FIRST_STEPS, run.recipe.watchdog.warm_up * run.total_steps):
            return
        self._in_a_row[kind] = self._in_a_row.get(kind, 0) + 1 if bad else 0
        if self._in_a_row[kind] == in_a_row:
            self._raise(run, step, kind, text)

    def _raise(self, run: Run, step: int, kind: str, text: str) -> None:
        alert = Alert(kind, text, REMEDIES[kind])
        self._first = self._first or alert
        run.events.fire("alert_raised", run=run, step=step, alert=alert)

    def _spread_of_real(self, run: Run) -> float:
        if self._real_spread is None:
            from ganzoo.data.packed_dataset import real_images
            from ganzoo.evaluation.metric_functions import spread
            from ganzoo.evaluation.real_features import reference_indices

            packed = run.loader.packed
            self._real_spread = spread(real_images(packed, reference_indices(packed, LOOKED_AT)))
        return self._real_spread


def _half_over(run: Run, step: int) -> bool:
    """Whether variety must be there by now; before, it comes bit by bit, and what counts is that it does not go."""
    return 2 * step >= run.total_steps
