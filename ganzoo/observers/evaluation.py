"""Score samples during a run, without affecting training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ganzoo.evaluation.evaluation_log import add_evaluations, all_scores
from ganzoo.registry.hookspecs import hookimpl

if TYPE_CHECKING:
    from ganzoo.components.observer import RunView
    from ganzoo.evaluation.evaluator import Evaluator
    from ganzoo.recipe.model import Recipe
    from ganzoo.registry.plugin_manager import PluginManager


class PeriodicEvaluation:
    """Evaluates every `evaluation.every` steps and at the end, adds to `evaluation.json`, fires `metrics_evaluated`.

    Random numbers come from `evaluation.seed`; the random state, batch statistics and modes of training are restored,
    so weights are the same to the bit with and without evaluation.

    Args:
        recipe: of the run.
        manager: the plugins that the extractors come from.
    """

    def __init__(self, recipe: Recipe, manager: PluginManager) -> None:
        self._recipe = recipe
        self._manager = manager
        self._evaluator: Evaluator | None = None

    @hookimpl
    def run_started(self, run: RunView) -> None:
        """Load the real images and the extractors, so that what is missing is reported before the first step.

        Raises:
            DataError: images or weights are missing; the text says which to put where.
        """
        from ganzoo.evaluation.evaluator import Evaluator

        self._evaluator = Evaluator(self._recipe, self._manager, run.device)

    @hookimpl
    def step_ended(self, run: RunView, step: int) -> None:
        """Evaluate on schedule and at the last step."""
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
        run.fire("metrics_evaluated", step=step, scores=all_scores(found))
