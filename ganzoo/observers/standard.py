"""List ganzoo's own observers, in the order in which they are called."""

from __future__ import annotations

from functools import partial

from ganzoo.registry.plugin_manager import PluginManager
from ganzoo.training.checkpointing import save_checkpoint
from ganzoo.training.run import Run


def standard_observers(run: Run, manager: PluginManager) -> list[object]:
    """Make the observers that every run has, for `Events.register_standard`; `manager` has the extractors.

    The order matters where one needs what another made: metrics are on disk before anything else can fail;
    samples and their animation are written before W&B sends them; a step is scored before its checkpoint is saved, so
    that no resumed run lacks scores; W&B finishes before the console prints its last line.
    """
    from ganzoo.observers.checkpoints import CheckpointWriter
    from ganzoo.observers.console import ConsoleObserver
    from ganzoo.observers.evaluation import PeriodicEvaluation
    from ganzoo.observers.metrics_log import MetricsLog
    from ganzoo.observers.samples import SampleWriter
    from ganzoo.observers.wandb.tracker import WandbTracker
    from ganzoo.observers.watchdog import Watchdog

    recipe = run.recipe
    scoring = [PeriodicEvaluation(recipe, manager)] if recipe.evaluation.every else []
    checkpoints = CheckpointWriter(partial(save_checkpoint, run))
    tracking = [] if recipe.tracking.wandb.mode == "disabled" else [WandbTracker()]
    watching = [Watchdog()] if recipe.watchdog.enabled else []
    return [MetricsLog(), SampleWriter(), *scoring, checkpoints, *tracking, *watching, ConsoleObserver()]
