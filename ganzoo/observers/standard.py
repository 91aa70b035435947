"""The observers of every run, in the order in which they are told of an event.

`Events.fire` goes through pluggy's `get_hookimpls()`, which lists implementations in the order of their
registration (those marked `trylast` before and those marked `tryfirst` after all others); it is pluggy's own
call, `hook(...)`, that begins with the last registered. So: register the observers in the order of this list.
"""

from __future__ import annotations

from ganzoo.recipe.model import Recipe
from ganzoo.registry.plugin_manager import PluginManager, plugin_manager


def standard_observers(recipe: Recipe, manager: PluginManager | None = None) -> list[object]:
    """The observers of a run of `recipe`, to be registered in this order; `manager` has the plugins that it uses.

    The order matters where one needs what another made: metrics are on disk before anything else can fail;
    samples and their film are there before W&B sends them; a step is scored before its checkpoint is saved, so that
    no resumed run has a gap; W&B finishes before the console has the last word.
    """
    from ganzoo.observers.checkpoints import CheckpointWriter
    from ganzoo.observers.console import ConsoleObserver
    from ganzoo.observers.evaluation import PeriodicEvaluation
    from ganzoo.observers.metrics_log import MetricsLog
    from ganzoo.observers.samples import SampleWriter
    from ganzoo.observers.wandb.tracker import WandbTracker
    from ganzoo.observers.watchdog import Watchdog

    tracking = [] if recipe.tracking.wandb.mode == "disabled" else [WandbTracker()]
    scoring = [PeriodicEvaluation(manager or plugin_manager())] if recipe.evaluation.every else []
    watching = [Watchdog()] if recipe.watchdog.enabled else []
    return [MetricsLog(), SampleWriter(), *scoring, CheckpointWriter(), *tracking, *watching, ConsoleObserver()]
