"""`ganzoo data` and `ganzoo recipe`: look at a dataset or a recipe ahead of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ganzoo.cli.options import AsJson, Overrides, RecipeFile, checked_recipe, echo, echo_document, echo_json, echo_path
from ganzoo.errors import RecipeError, RequestError

if TYPE_CHECKING:
    from ganzoo.data.prepare import Examination

_SHOWN = 10

data_commands = typer.Typer(help="Prepare datasets, and look at them.", no_args_is_help=True, rich_markup_mode=None)


@data_commands.command()
def prepare(recipe: RecipeFile, set_: Overrides = None) -> None:
    """Decode a recipe's dataset now, or verify every byte if it is decoded. The last line on stdout is its folder.

    Example: ganzoo data prepare recipes/dcgan_digits.toml
    """
    checked, manager = checked_recipe(recipe, set_)

    from ganzoo.data import prepare as datasets
    from ganzoo.text import size_in_words

    packed = datasets.prepare(checked, manager)
    for line in packed.skipped:
        echo(f"left out: {line}", err=True)
    for line in packed.findings:
        echo(f"note: {line}", err=True)
    left_out = f", {len(packed.skipped)} left out" if packed.skipped else ""
    echo(f"{len(packed)} {packed.info.noun} {packed.info}{left_out}, {size_in_words(packed.nbytes)}")
    echo_path(packed.path)


@data_commands.command()
def doctor(recipe: RecipeFile, set_: Overrides = None, as_json: AsJson = False) -> None:
    """Report on every image of a recipe's dataset: counts, sizes, kinds, bad ones, duplicates. Trains nothing.

    Example: ganzoo data doctor recipes/dcgan_digits.toml
    """
    checked, manager = checked_recipe(recipe, set_)

    from ganzoo.data import prepare as datasets

    found = datasets.examine(checked, manager)
    if as_json:
        echo_json(found.to_dict())
    else:
        _report(found)


def _report(found: Examination) -> None:
    echo(f"{found.dataset}: {found.images} images, {found.usable} of them fit to train on")
    if sizes := found.size_summary():
        for side in ("width", "height"):
            smallest, median, largest = sizes[side].values()
            echo(f"{side}: {smallest} to {largest}, median {median}")
        common = (f"{row['width']}×{row['height']} ({row['images']})" for row in sizes["most_common"])
        echo(f"sizes: {sizes['different']}, most often {', '.join(common)}")
    for title, counts in (("modes", found.modes), ("formats", found.formats), ("classes", found.classes)):
        if counts:
            echo(f"{title}: {', '.join(f'{name} {count}' for name, count in counts.items())}")
    _list("cannot be used", found.unreadable, shown=len(found.unreadable))
    _list("smaller than the crop", found.too_small, shown=len(found.too_small))
    _list("enlarged", found.enlarged)
    _list("groups of equal images", [" = ".join(group) for group in found.duplicates])
    _list("groups that look the same", [" ~ ".join(group) for group in found.near_duplicates])
    for note in found.notes:
        echo(f"note: {note}")


def _list(title: str, lines: list[str], shown: int = _SHOWN) -> None:
    if lines:
        echo(f"{title}: {len(lines)}")
    for line in lines[:shown]:
        echo(f"  {line}")
    if len(lines) > shown:
        echo(f"  … and {len(lines) - shown} more; --json has all")


recipe_commands = typer.Typer(help="Check, show and describe recipes.", no_args_is_help=True, rich_markup_mode=None)


@recipe_commands.command()
def check(recipe: RecipeFile, set_: Overrides = None) -> None:
    """List everything that is wrong with a recipe; imports its plugin files only with --trust.

    Example: ganzoo recipe check recipes/dcgan_digits.toml
    """
    from ganzoo.recipe.validate import lint

    try:
        checked, manager = checked_recipe(recipe, set_)
    except RecipeError as error:
        if not all(problem.unchecked for problem in error.problems):
            raise
        for problem in error.problems:
            echo(f"not checked: {problem}", err=True)
        echo(f"{recipe}: nothing wrong in what could be checked without its plugin files")
        return
    for problem in lint(checked, manager):
        echo(f"warning: {problem}", err=True)
    echo(f"{recipe}: nothing wrong")


@recipe_commands.command()
def show(
    recipe: RecipeFile,
    set_: Overrides = None,
    as_json: AsJson = False,
    card: Annotated[
        bool, typer.Option("--card", help="Print what its header says to expect: score, time, machine, memory.")
    ] = False,
) -> None:
    """Print a recipe with every default written out.

    Example: ganzoo recipe show recipes/dcgan_digits.toml
    """
    from dataclasses import asdict

    from ganzoo.recipe.card import read_card

    if card:
        if set_:
            raise RequestError("--card: shows what was measured of the recipe as it is: leave out --set")
        shown = read_card(recipe)
        echo_json(asdict(shown)) if as_json else echo_document(str(shown))
        return
    resolved, _ = checked_recipe(recipe, set_)
    echo_json(resolved.to_dict()) if as_json else echo_document(resolved.to_toml().rstrip())


@recipe_commands.command()
def schema() -> None:
    """Print the JSON schema of a recipe with all installed plugins, for completion in editors.

    Example: ganzoo recipe schema > recipe.schema.json
    """
    from ganzoo.recipe.load import recipe_schema
    from ganzoo.registry.plugin_manager import plugin_manager

    echo_json(recipe_schema(plugin_manager().registries))
