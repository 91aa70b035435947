"""`ganzoo run` and `ganzoo resume`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ganzoo.sampling.trained_run import TrainedRun

Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="Change the recipe, such as trainer.batch_size=64; may be given again.",
        metavar="KEY=VALUE",
    ),
]


def add_to(app: typer.Typer) -> None:
    """Add this module's commands to `app`."""
    app.command("run")(run)
    app.command("resume")(resume)


def run(
    recipe: Annotated[Path, typer.Argument(help="A recipe file.")],
    changes: Annotated[
        list[str] | None,
        typer.Argument(help="More of what --set takes: a W&B agent appends its choice here.", metavar="[KEY=VALUE]..."),
    ] = None,
    set_: Overrides = None,
) -> None:
    """Train a GAN. The last line on stdout is the run directory."""
    from ganzoo import api

    _print_path(api.run(recipe, [*(set_ or ()), *(changes or ())]))


def resume(run: Annotated[Path, typer.Argument(help="A run directory.")], set_: Overrides = None) -> None:
    """Go on with a run from its last whole checkpoint."""
    from ganzoo import api

    _print_path(api.resume(run, set_ or ()))


def _print_path(trained: TrainedRun) -> None:
    """The run directory; of several processes, one says it."""
    from ganzoo.runtime.distributed import world_from_env

    if world_from_env().is_main:
        typer.echo(trained.path)
