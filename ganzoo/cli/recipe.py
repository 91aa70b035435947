"""`ganzoo recipe`: check a recipe, show it resolved, print its JSON schema."""

from __future__ import annotations

import json

import typer

from ganzoo.cli.options import AsJson, Overrides, RecipeFile
from ganzoo.errors import RecipeError

commands = typer.Typer(help="Check, show and describe recipes.", no_args_is_help=True, rich_markup_mode=None)


@commands.command()
def check(recipe: RecipeFile, set_: Overrides = None) -> None:
    """Say everything that is wrong with a recipe, or that nothing is; imports its plugin files only with --trust."""
    from ganzoo.recipe.lint import lint
    from ganzoo.recipe.load import load_recipe, trusted
    from ganzoo.registry.plugin_manager import plugin_manager

    try:
        checked, manager = load_recipe(recipe, plugin_manager(), set_ or (), trust=trusted())
    except RecipeError as error:
        if not all(problem.unchecked for problem in error.problems):
            raise
        for problem in error.problems:
            typer.echo(f"not checked: {problem}", err=True)
        typer.echo(f"{recipe}: nothing wrong in what could be checked without its plugin files")
        return
    for problem in lint(checked, manager):
        typer.echo(f"warning: {problem}", err=True)
    typer.echo(f"{recipe}: nothing wrong")


@commands.command()
def show(recipe: RecipeFile, set_: Overrides = None, as_json: AsJson = False) -> None:
    """Print a recipe with every default written out."""
    from ganzoo.recipe.load import load_recipe, trusted
    from ganzoo.registry.plugin_manager import plugin_manager

    resolved, _ = load_recipe(recipe, plugin_manager(), set_ or (), trust=trusted())
    typer.echo(json.dumps(resolved.to_dict(), indent=2) if as_json else resolved.to_toml().rstrip())


@commands.command()
def schema() -> None:
    """Print the JSON schema of a recipe with all installed plugins, for completion in editors."""
    from ganzoo.recipe.load import recipe_schema
    from ganzoo.registry.plugin_manager import plugin_manager

    typer.echo(json.dumps(recipe_schema(plugin_manager().registries), indent=2))
