"""The observers of every run in the order in which they are called; those of metrics and scores stand here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial

from ganzoo.components.observer import Alert, RunView
from ganzoo.errors import RequestError
from ganzoo.evaluation.evaluation_log import Evaluated, add_evaluations, all_scores
from ganzoo.evaluation.evaluator import Evaluator
from ganzoo.observers.checkpoints import CheckpointWriter
from ganzoo.observers.console import ConsoleObserver
from ganzoo.observers.samples import SampleWriter
from ganzoo.observers.watchdog import Watchdog
from ganzoo.recipe.model import Recipe, TargetOptions
from ganzoo.recipe.validate import scores_taken
from ganzoo.registry.hookspecs import hookimpl
from ganzoo.registry.plugin_manager import PluginManager
from ganzoo.storage.run_directory import ALERT
from ganzoo.storage.summary import SCORE, drop_non_finite
from ganzoo.terminal import warn
from ganzoo.training.checkpointing import save_checkpoint
from ganzoo.training.run import Run


def standard_observers(run: Run) -> list[object]:
    """Make the observers that every run has, for `Events.register_standard`.

    The order matters where one needs what another made: metrics are on disk before anything else can fail; whether the
    run ends is known before anybody does something at its end;
    samples and their animation are written before trackers send them; a step is scored before its checkpoint is saved,
    so that no resumed run lacks scores; trackers finish before the console prints its last line.
    """
    recipe, manager = run.recipe, run.manager
    scoring = [PeriodicEvaluation(partial(Evaluator, recipe, manager, run.device))] if recipe.evaluation.every else []
    checkpoints = CheckpointWriter(partial(save_checkpoint, run))
    trackers = {name: config for name, config in recipe.tracking.chosen().items() if config.enabled}
    tracking = [manager.registries.trackers[name].load()(config) for name, config in trackers.items()]
    watching = [Watchdog(class_counts(recipe, manager))] if recipe.watchdog.enabled else []
    target = [] if recipe.run.target is None else [TargetObserver(recipe.run.target, run.end_at_target)]
    first = [MetricsLog(), *target, SampleWriter()]
    return [*first, *scoring, checkpoints, *tracking, *watching, ConsoleObserver()]


def class_counts(recipe: Recipe, manager: PluginManager) -> list[str]:
    """Return the scores, of those taken while training, that count the classes of the dataset."""
    scores = scores_taken(recipe, manager.registries) if recipe.evaluation.every else {}
    return [name for name, score in scores.items() if score.counts_classes]


class MetricsLog:
    """Appends a row to `metrics.jsonl` at each log point, evaluation and alert.

    A row has "step", "epoch" and "seconds" (of training, over all parts of a resumed run) beside its figures;
    figures that are not finite are left out, since JSON cannot hold them.
    """

    @hookimpl
    def step_ended(self, run: RunView, step: int, metrics: Mapping[str, float] | None) -> None:
        """Write the figures of a log point.

        Raises:
            OutputError: the disk is full; so do the other hooks.
        """
        if metrics is not None:
            run.directory.append_metrics(_position(run, step) | drop_non_finite(metrics))

    @hookimpl
    def figures_logged(self, run: RunView, step: int, figures: Mapping[str, float]) -> None:
        """Write what an observer logged, in a row of its own."""
        run.directory.append_metrics(_position(run, step) | drop_non_finite(figures))

    @hookimpl
    def metrics_evaluated(self, run: RunView, step: int, scores: Mapping[str, float]) -> None:
        """Write scores in a row of their own, each under "score/<name>"."""
        figures = {SCORE + name: value for name, value in drop_non_finite(scores).items()}
        run.directory.append_metrics(_position(run, step) | figures)

    @hookimpl
    def alert_raised(self, run: RunView, step: int, alert: Alert) -> None:
        """Write an alert in a row of its own, under "alert"."""
        run.directory.append_metrics({**_position(run, step), ALERT: asdict(alert)})


def _position(run: RunView, step: int) -> dict[str, float]:
    return {"step": step, "epoch": run.epoch, "seconds": run.seconds}


class TargetObserver:
    """Ends the run at the step whose scores reach its target.

    Args:
        target: of the recipe.
        end: ends the run after the step.
    """

    def __init__(self, target: TargetOptions, end: Callable[[], None]) -> None:
        self._target, self._end = target, end

    @hookimpl
    def metrics_evaluated(self, scores: Mapping[str, float]) -> None:
        """End the run if a score reaches the target."""
        value = drop_non_finite(scores).get(self._target.score)
        if value is not None and self._target.reached_by(value):
            self._end()


class PeriodicEvaluation:
    """Evaluates every `evaluation.every` steps and at the end, adds to `evaluation.json`, fires `metrics_evaluated`.

    Random numbers come from `evaluation.seed`; the random state, batch statistics and modes of training are restored,
    so weights are the same to the bit with and without evaluation.

    Args:
        load: loads the real images and the extractors of the run.
    """

    def __init__(self, load: Callable[[], Evaluator]) -> None:
        self._load = load
        self._warned = False

    @hookimpl
    def run_started(self, run: RunView) -> None:
        """Load the real images and the extractors, so that what is missing is reported before the first step.

        Raises:
            DataError: images or weights are missing; the text says which to put where.
            RequestError: `run.target` names a score that is not evaluated, for lack of classes in the dataset.
        """
        self._evaluator = self._load()
        target, scores = run.recipe.run.target, self._evaluator.score_names()
        if target is not None and target.score not in scores:
            raise RequestError(
                f'run.target.score: "{target.score}" is not among the scores of this dataset; name one of '
                f"{', '.join(sorted(scores))}"
            )

    @hookimpl
    def step_ended(self, run: RunView, step: int) -> None:
        """Evaluate on schedule and at the last step."""
        options = run.recipe.evaluation
        if step % options.every and step != run.total_steps:
            return
        found = self._evaluator.evaluate(
            run.sampling_generator(options.weights),
            weights=run.weights_name(options.weights),
            run=str(run.directory),
            step=step,
        )
        add_evaluations(run.directory, found)
        scores, target = all_scores(found), run.recipe.run.target
        for text in Evaluated([found]).warnings if not self._warned else ():
            warn(text)
        if target is not None and target.score not in scores and not self._warned:
            warn(f'run.target.score: there is no "{target.score}" of this generator and dataset, so nothing reaches it')
        self._warned = True
        run.fire("metrics_evaluated", step=step, scores=scores)
