"""Scores samples as a run goes on, without the training being any other for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ganzoo.evaluation.evaluation_log import add_evaluations, all_scores
from ganzoo.registry.hookspecs import hookimpl

if TYPE_CHECKING:
    from ganzoo.evaluation.evaluator import Evaluator
    from ganzoo.registry.plugin_manager import PluginManager
    from ganzoo.training.run import Run


class PeriodicEvaluation:
    """Evaluates every `evaluation.every` steps and at the end, adds to `evaluation.json`, fires `metrics_evaluated`.

    All that is random here comes from `evaluation.seed`, and the training's random numbers, batch statistics and
    modes are as they were afterwards: a run with evaluations is a run without them, to the bit.

    Args:
        manager: the plugins that the extractors come from.
    """

    def __init__(self, manager: PluginManager) -> None:
        self._manager = manager
        self._evaluator: Evaluator | None = None

    @hookimpl
    def run_started(self, run: Run) -> None:
        """Get the real images and the extractors ready, so that what is missing is told before the first step.

        Raises:
            DataError: images or weights are not there; the text says which to put where.
        """
        from ganzoo.evaluation.evaluator import Evaluator

        self._evaluator = Evaluator(run.recipe, self._manager, run.compute.device)

    @hookimpl
    def step_ended(self, run: Run, step: int) -> None:
        """Evaluate where the schedule says so, and at the last step."""
        options = run.recipe.evaluation
        if options.every is None or self._evaluator is None or (step % options.every and step != run.total_steps):
            return
        found = self._evaluator.evaluate(
            run.sampling_generator(options.weights),
            weights=run.weights_name(options.weights),
            run=str(run.directory),
            step=step,
        )
        add_evaluations(run.directory, found)
        run.events.fire("metrics_evaluated", run=run, step=step, scores=all_scores(found))
