"""List ganzoo's own observers, in the order in which they are called."""

from __future__ import annotations

from functools import partial

from ganzoo.recipe.model import Recipe
from ganzoo.registry.plugin_manager import PluginManager
from ganzoo.training.checkpointing import save_checkpoint
from ganzoo.training.run import Run


def standard_observers(run: Run, manager: PluginManager) -> list[object]:
    """Make the observers that every run has, for `Events.register_standard`; `manager` has the extractors.

    The order matters where one needs what another made: metrics are on disk before anything else can fail;
    samples and their animation are written before trackers send them; a step is scored before its checkpoint is saved,
    so that no resumed run lacks scores; trackers finish before the console prints its last line.
    """
    from ganzoo.observers.checkpoints import CheckpointWriter
    from ganzoo.observers.console import ConsoleObserver
    from ganzoo.observers.evaluation import PeriodicEvaluation
    from ganzoo.observers.metrics_log import MetricsLog
    from ganzoo.observers.samples import SampleWriter
    from ganzoo.observers.watchdog import Watchdog

    recipe = run.recipe
    scoring = [PeriodicEvaluation(recipe, manager)] if recipe.evaluation.every else []
    checkpoints = CheckpointWriter(partial(save_checkpoint, run))
    trackers = {name: config for name, config in recipe.tracking.chosen().items() if config.enabled}
    tracking = [manager.registries.trackers[name].load()(config) for name, config in trackers.items()]
    watching = [Watchdog()] if recipe.watchdog.enabled else []
    return [MetricsLog(), SampleWriter(), *scoring, checkpoints, *tracking, *watching, ConsoleObserver()]


def recipe_observers(recipe: Recipe, manager: PluginManager) -> dict[str, object]:
    """Make the observers that the recipe has tables for, by name."""
    registry = manager.registries.observers
    return {name: registry[name].load()(config) for name, config in recipe.observers.chosen().items()}
