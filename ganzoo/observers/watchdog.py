"""Detect failing training, raise an alert with a remedy, and end the run where `watchdog.stop` is set."""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Collection, Mapping

from torch import Tensor

from ganzoo.components.observer import Alert, RunView
from ganzoo.data.packed_dataset import real_images
from ganzoo.errors import DivergedError, TrainingError
from ganzoo.evaluation.real_features import reference_indices, spread
from ganzoo.registry.hookspecs import hookimpl
from ganzoo.storage.summary import SCORE

LOOKED_AT = 500
"""Number of real images whose spread that of the samples is compared with."""
FIRST_STEPS = 50
"""Steps at the start of every run that raise no alert."""
IN_A_ROW = 2
"""Consecutive bad grids or evaluations that raise an alert."""

REMEDIES = {
    "discriminator_wins": "a lower trainer.discriminator_optimizer.lr, a penalty such as r1, or label smoothing",
    "gradient_vanishes": 'loss.name = "non_saturating" where it is minimax, a lower '
    "trainer.discriminator_optimizer.lr, or hinge or wasserstein with a gradient penalty",
    "samples_alike": "lower learning rates, a penalty such as r1 or gradient_penalty with the wasserstein loss, or the "
    "pacgan or unrolled trainer; the checkpoints from before are still good",
    "classes_missing": "lower learning rates, a larger batch, a conditional generator, the pacgan or unrolled trainer, "
    "or, with few images, an augmentation such as diff_augment",
    "not_finite": 'a lower learning rate, a penalty such as r1, or device.precision = "fp32"',
}


class StoppedByWatchdog(TrainingError):
    """An alert ended the run, since `watchdog.stop` is set."""


class Watchdog:
    """Checks metrics, grids, scores and the end of a run; fires `alert_raised` once when a problem begins.

    It computes nothing of its own: it reads the trainer's metrics, the grids of samples and the evaluations.

    Args:
        class_counts: scores that count the classes of the dataset among the samples.
    """

    def __init__(self, class_counts: Collection[str] = ()) -> None:
        self._class_counts = class_counts
        self._in_a_row: dict[str, int] = {}
        self._norms: list[float] = []  # sorted
        self._real_spread: float | None = None
        self._most_classes = 0.0
        self._most_spread = 0.0
        self._first: Alert | None = None
        self._is_catching_up = False

    @hookimpl
    def run_started(self, run: RunView) -> None:
        """Go through the figures of an earlier part of the run, which raised its alerts then."""
        if run.resumed_from is None:
            return
        self._is_catching_up = True
        for row in run.directory.read_metrics():
            step, scores = row["step"], {key.removeprefix(SCORE): row[key] for key in row if key.startswith(SCORE)}
            if step <= run.resumed_from:
                self._check_discriminator(run, step, row)
                self._check_gradient(run, step, row)
                self.metrics_evaluated(run, step, scores)
        self._is_catching_up = False

    @hookimpl
    def step_ended(self, run: RunView, step: int, metrics: Mapping[str, float] | None) -> None:
        """Check how confident the discriminator is and the norm of the generator's gradient.

        Raises:
            StoppedByWatchdog: there was an alert, and `watchdog.stop` is set.
        """
        if metrics is not None:
            self._check_discriminator(run, step, metrics)
            self._check_gradient(run, step, metrics)
        if self._first is not None and run.recipe.watchdog.stop and not run.ending:
            raise StoppedByWatchdog(
                f"step {step}: stopped by the watchdog (watchdog.stop): {self._first.text}; try {self._first.remedy}"
            )

    @hookimpl
    def samples_ready(self, run: RunView, step: int, images: Tensor) -> None:
        """Compare the spread of the samples with that of real images."""
        if len(images) < 2:
            return
        share = spread(images) / max(self._spread_of_real(run), 1e-12)
        due = 1.0 if _half_over(run, step) else min(1.0, self._most_spread)
        self._most_spread = max(self._most_spread, share)
        bad = not share >= run.recipe.watchdog.least_diversity * due  # NaN is bad too
        text = f"the samples are almost the same: they differ by {share:.2g} of what real images differ by"
        self._judge(run, step, "samples_alike", bad, text, IN_A_ROW)

    @hookimpl
    def metrics_evaluated(self, run: RunView, step: int, scores: Mapping[str, float]) -> None:
        """Check for missing classes and for scores that are not finite."""
        wrong = [name for name, value in scores.items() if not math.isfinite(value)]
        self._judge(run, step, "not_finite", bool(wrong), f"the scores {', '.join(wrong)} are not finite", 1)
        covered = min((scores[name] for name in self._class_counts if name in scores), default=None)
        if covered is not None:
            due = run.info.num_classes if _half_over(run, step) else self._most_classes
            self._most_classes = max(self._most_classes, covered)
            bad = covered < run.recipe.watchdog.least_coverage * due
            text = f"only {covered:.0f} of {run.info.num_classes} classes are among the samples"
            self._judge(run, step, "classes_missing", bad, text, IN_A_ROW)

    @hookimpl
    def run_failed(self, run: RunView, error: BaseException) -> None:
        """Raise an alert for a run that diverged."""
        if isinstance(error, DivergedError):
            self._raise(run, error.step, "not_finite", f"{error.what} not finite any more")

    def _check_discriminator(self, run: RunView, step: int, metrics: Mapping[str, float]) -> None:
        """Check whether it separates all images; only where its outputs are probabilities, which a critic's are not."""
        real, fake = metrics.get("probability/real"), metrics.get("probability/fake")
        if real is None or fake is None:
            return
        sure = run.recipe.watchdog.discriminator_wins
        text = f"the discriminator has won: it gives real images {real:.3f} and generated ones {fake:.2g}"
        bad = real >= sure and fake <= 1 - sure
        self._judge(run, step, "discriminator_wins", bad, text, run.recipe.watchdog.patience)

    def _check_gradient(self, run: RunView, step: int, metrics: Mapping[str, float]) -> None:
        """Check whether the generator's gradient has vanished, compared with its usual norm."""
        norm = metrics.get("gradient_norm/generator")
        if norm is None:
            return
        count = len(self._norms)
        usual = (self._norms[(count - 1) // 2] + self._norms[count // 2]) / 2 if count else norm  # their median
        bad = norm <= run.recipe.watchdog.least_gradient * usual
        if not bad:
            insort(self._norms, norm)
        text = f"the generator learns nothing any more: its gradient's norm is {norm:.2g}, where {usual:.2g} is usual"
        self._judge(run, step, "gradient_vanishes", bad, text, run.recipe.watchdog.patience)

    def _judge(self, run: RunView, step: int, kind: str, bad: bool, text: str, in_a_row: int) -> None:
        """Raise an alert once when a check has failed `in_a_row` times, and not again until it has passed."""
        if step < max(FIRST_STEPS, run.recipe.watchdog.warm_up * run.total_steps):
            return
        self._in_a_row[kind] = self._in_a_row.get(kind, 0) + 1 if bad else 0
        if self._in_a_row[kind] == in_a_row and not self._is_catching_up:
            self._raise(run, step, kind, text)

    def _raise(self, run: RunView, step: int, kind: str, text: str) -> None:
        alert = Alert(kind, text, REMEDIES[kind])
        self._first = self._first or alert
        run.fire("alert_raised", step=step, alert=alert)

    def _spread_of_real(self, run: RunView) -> float:
        if self._real_spread is None:
            packed = run.dataset
            self._real_spread = spread(real_images(packed, reference_indices(packed, LOOKED_AT)))
        return self._real_spread


def _half_over(run: RunView, step: int) -> bool:
    """Check whether half of the run is over; until then, samples need only be as diverse as they were."""
    return 2 * step >= run.total_steps
