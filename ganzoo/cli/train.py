"""Commands that train: `ganzoo run`, `resume` and `sweep`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ganzoo.cli.options import Overrides, RecipeFile, RunFolder, checked_recipe, echo, echo_path
from ganzoo.errors import GanzooError, RequestError

if TYPE_CHECKING:
    from ganzoo.sampling.trained_run import TrainedRun

AcceptChanges = Annotated[
    bool, typer.Option("--accept-changes", help="Continue even if the data or the code of plugins has changed since.")
]


def run(
    recipe: RecipeFile,
    changes: Annotated[
        list[str] | None,
        typer.Argument(help="More KEY=VALUE settings, as a W&B agent appends them.", metavar="[KEY=VALUE]..."),
    ] = None,
    set_: Overrides = None,
) -> None:
    """Train a GAN. The last line on stdout is the run directory.

    Example: ganzoo run recipes/dcgan_digits.toml --set loss.name=hinge
    """
    checked, manager = checked_recipe(recipe, [*(set_ or ()), *(changes or ())], trust=True)

    from ganzoo import api
    from ganzoo.recipe.load import naming_source

    with naming_source(recipe):
        trained = api.run(checked, manager=manager)
    _end(trained)


def resume(run: RunFolder, set_: Overrides = None, accept_changes: AcceptChanges = False) -> None:
    """Continue a run from its last complete checkpoint.

    Example: ganzoo resume runs/dcgan-digits/0001 --set run.steps=4000
    """
    from ganzoo import api

    _end(api.resume(run, set_ or (), accept_changes=accept_changes))


def _end(trained: TrainedRun) -> None:
    """Say on stderr what to do next, then the run directory; of several processes, one does."""
    from ganzoo.runtime.distributed import world_from_env
    from ganzoo.sampling.image_io import grids, has_picture
    from ganzoo.terminal import say
    from ganzoo.text import shell_word

    if not world_from_env().is_main:
        return
    if made := grids(trained.directory.samples):
        say(f"samples:   {made[-1]}")
    suffix = ".png" if has_picture(trained.info.samples.shape) else ".npy"
    say(f"sample:    {trained.directory.command('sample', out=trained.path.name + suffix)}")
    say(f"evaluate:  {trained.directory.command('evaluate')}")
    say(f"compare:   ganzoo compare {shell_word(trained.path.parent)}")
    echo_path(trained.path)


def sweep(
    recipe: RecipeFile,
    vary: Annotated[
        list[str] | None,
        typer.Option("--vary", help="An option and its values; may be given again.", metavar="KEY=VALUE,VALUE"),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each combination, from the recipe's seed upwards.")] = 1,
    set_: Overrides = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Number of runs at the same time; default: 1, or one for each GPU.")
    ] = None,
    gpus: Annotated[str, typer.Option(help="GPUs to divide among the jobs.", metavar="0,1")] = "",
    name: Annotated[
        str | None, typer.Option(help="Name of the sweep's directory; default: the recipe's name with -sweep.")
    ] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Continue runs that failed before.")] = False,
    accept_changes: AcceptChanges = False,
    method: Annotated[
        Literal["random", "bayes"] | None,
        typer.Option(help="How agents of a tracker choose values; default: they take every combination."),
    ] = None,
    metric: Annotated[
        str | None, typer.Option(help="What bayes optimizes, such as score/fd_classifier.", metavar="NAME")
    ] = None,
    goal: Annotated[
        Literal["minimize", "maximize"] | None, typer.Option(help="Which values are better; default: minimize.")
    ] = None,
    runs: Annotated[int | None, typer.Option(min=1, help="Largest number of runs, for random and bayes.")] = None,
    trackers: Sequence[Any] = (),
) -> None:
    """Train every combination with several seeds; repeat it to continue. The last line is the directory.

    Example: ganzoo sweep recipes/dcgan_digits.toml --vary loss.name=hinge,wasserstein --seeds 3
    """
    from ganzoo.comparison.comparison import compare
    from ganzoo.comparison.table import ranking_lines
    from ganzoo.registry.plugin_manager import plugin_manager
    from ganzoo.sweeps.plan import agent_sweep, make_plan, parse_vary, split_ranges
    from ganzoo.sweeps.run_sweep import sweep as run_sweep
    from ganzoo.terminal import say
    from ganzoo.text import shell_word

    grid = parse_vary(vary or ())
    here = {"--jobs": jobs, "--gpus": gpus, "--retry-failed": retry_failed, "--accept-changes": accept_changes}
    if trackers and (without := [option for option, given in here.items() if given]):
        raise RequestError(f"{without[0]}: is for runs that this command trains itself: agents train these")
    ends, ranges = split_ranges(grid)
    if ranges and method is None:
        raise RequestError(
            f"--vary {next(iter(ranges))}: a range is for agents: list values, or give --method random and a tracker's "
            f"flag, such as --wandb"
        )
    for entry in trackers:
        plan = make_plan(recipe, ends, seeds, set_ or (), plugin_manager(), name=name)
        config = plan.variants[0].recipe.tracking.chosen().get(entry.name) or entry.config(name=entry.name)
        search = {"method": method, "metric": metric, "goal": goal, "runs": runs, "ranges": ranges}
        echo(entry.load()(config).register_sweep(agent_sweep(plan, set_ or (), config, **search)))
    if trackers:
        return
    if method or metric or goal or runs:
        raise RequestError(
            "--method, --metric, --goal and --runs are for agents: give a tracker's flag too, such as --wandb"
        )
    swept = run_sweep(recipe, grid, set_ or (), seeds=seeds, jobs=jobs, name=name, retry_failed=retry_failed,
                      accept_changes=accept_changes,
                      gpus=[each.strip() for each in gpus.split(",") if each.strip()])  # fmt: skip
    echo_path(swept.path)
    if swept.failed or swept.unfinished:
        lines = [f"{swept.path}: {len(swept.runs) - len(swept.failed) - len(swept.unfinished)} of {len(swept.runs)} "
                 f"runs are complete"]  # fmt: skip
        lines += [f"  {member}: {member.error or member.status}" for member in [*swept.failed, *swept.unfinished]]
        if swept.failed:
            lines.append("once that is fixed, the same command with --retry-failed goes on with those that failed")
        raise GanzooError("\n".join(lines))
    for line in ranking_lines(compare(swept.path)):
        say(line)
    say(f"compare them:  ganzoo compare {shell_word(swept.path)}")
