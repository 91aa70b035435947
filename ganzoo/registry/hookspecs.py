"""Define every hook that a plugin can implement."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from torch import Tensor

    from ganzoo.components.observer import Alert, RecipeView, RunView
    from ganzoo.errors import Problem
    from ganzoo.registry.commands import CommandRegistrar
    from ganzoo.registry.registry import Registrar

hookspec = pluggy.HookspecMarker("ganzoo")
hookimpl = pluggy.HookimplMarker("ganzoo")


@hookspec
def register_architectures(register: Registrar) -> None:
    """Once at start: call `register(name, component)` for each generator and discriminator."""


@hookspec
def register_losses(register: Registrar) -> None:
    """Once at start: call `register(name, component)` for each loss and penalty."""


@hookspec
def register_datasets(register: Registrar) -> None:
    """Once at start: call `register(name, component)` for each dataset."""


@hookspec
def register_trainers(register: Registrar) -> None:
    """Once at start: call `register(name, component)` for each trainer."""


@hookspec
def register_importers(register: Registrar) -> None:
    """Once at start: call `register(name, component)` for each importer of weights from elsewhere."""


@hookspec
def register_extractors(register: Registrar) -> None:
    """Once at start: call `register(name, component)` for each extractor of the features that samples are scored by."""


@hookspec
def register_metrics(register: Registrar) -> None:
    """Once at start: call `register(name, component)` for each metric that samples are scored by."""


@hookspec
def register_optimizers(register: Registrar) -> None:
    """Once at start: call `register(name, config)` for each optimizer, which is its config with a method `build`."""


@hookspec
def register_observers(register: Registrar) -> None:
    """Once at start: call `register(name, component)` for each observer and tracker that a recipe has a table for."""


@hookspec
def register_commands(register: CommandRegistrar) -> None:
    """Once at start: call `register(name, "module:function", help="one line", section="look")` for each command."""


@hookspec
def lint_recipe(recipe: RecipeView) -> list[Problem | str]:  # type: ignore[empty-body]
    """Before a run, and in `ganzoo recipe check`: warn of options that are valid but work badly together."""


@hookspec
def run_started(run: RunView) -> None:
    """Everything is built and the first step comes next; `run.step` is 0, or where a resumed run stands."""


@hookspec
def step_ended(run: RunView, step: int, metrics: Mapping[str, float] | None) -> None:
    """A step was taken; `metrics` has its figures at every `run.log_every`-th step and is None otherwise."""


@hookspec
def figures_logged(run: RunView, step: int, figures: Mapping[str, float]) -> None:
    """An observer logged figures of this step with `run.log`."""


@hookspec
def samples_ready(run: RunView, step: int, images: Tensor, grid: Tensor | None) -> None:
    """Samples of the fixed latents or inputs are ready; `grid` (C, H, W) in [0, 1] shows them; None: no picture can."""


@hookspec
def metrics_evaluated(run: RunView, step: int, scores: Mapping[str, float]) -> None:
    """Samples of this step were scored."""


@hookspec
def alert_raised(run: RunView, step: int, alert: Alert) -> None:
    """The watchdog or a plugin found a problem in the run: `alert` says what, and what to try."""


@hookspec
def checkpoint_saved(run: RunView, step: int, path: Path) -> None:
    """The checkpoint of this step is complete in the folder `path`."""


@hookspec
def run_failed(run: RunView, error: BaseException) -> None:
    """The run ends early because of `error`, a KeyboardInterrupt if it was asked to stop; `run_ended` follows."""


@hookspec
def run_ended(run: RunView) -> None:
    """Last event of every run; its `summary.json` is written."""
