"""`ganzoo run` and `ganzoo resume`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ganzoo.cli.options import Overrides, RecipeFile, RunFolder

if TYPE_CHECKING:
    from ganzoo.sampling.trained_run import TrainedRun


def run(
    recipe: RecipeFile,
    changes: Annotated[
        list[str] | None,
        typer.Argument(help="More of what --set takes: a W&B agent appends its choice here.", metavar="[KEY=VALUE]..."),
    ] = None,
    set_: Overrides = None,
) -> None:
    """Train a GAN. The last line on stdout is the run directory."""
    from ganzoo import api

    _print_path(api.run(recipe, [*(set_ or ()), *(changes or ())]))


def resume(run: RunFolder, set_: Overrides = None) -> None:
    """Go on with a run from its last whole checkpoint."""
    from ganzoo import api

    _print_path(api.resume(run, set_ or ()))


def _print_path(trained: TrainedRun) -> None:
    """The run directory; of several processes, one says it."""
    from ganzoo.runtime.distributed import world_from_env

    if world_from_env().is_main:
        typer.echo(trained.path)
