"""`ganzoo data`: prepare a dataset ahead of a run, and look at what is in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

import typer

from ganzoo.cli.options import AsJson, Overrides, RecipeFile

if TYPE_CHECKING:
    from ganzoo.data.doctor import Examination

_SHOWN = 10

commands = typer.Typer(help="Prepare datasets, and look at them.", no_args_is_help=True, rich_markup_mode=None)


@commands.command()
def prepare(recipe: RecipeFile, set_: Overrides = None) -> None:
    """Decode a recipe's dataset now, or check every byte that is ready. The last line on stdout is its folder."""
    from ganzoo.data import prepare as datasets
    from ganzoo.text import size_in_words

    packed = datasets.prepare(recipe, set_ or ())
    for line in packed.skipped:
        typer.echo(f"left out: {line}", err=True)
    left_out = f", {len(packed.skipped)} left out" if packed.skipped else ""
    noun = "images" if packed.images.ndim == 4 else "vectors"
    typer.echo(f"{len(packed)} {noun} {packed.info}{left_out}, {size_in_words(packed.nbytes)}")
    typer.echo(packed.path)


@commands.command()
def doctor(recipe: RecipeFile, set_: Overrides = None, as_json: AsJson = False) -> None:
    """Report on every image of a recipe's dataset: counts, sizes, kinds, bad ones, duplicates. Trains nothing."""
    from ganzoo.data import prepare as datasets

    found = datasets.examine(recipe, set_ or ())
    if as_json:
        typer.echo(json.dumps(found.to_dict(), indent=2))
    else:
        _report(found)


def _report(found: Examination) -> None:
    typer.echo(f"{found.dataset}: {found.images} images, {found.usable} of them fit to train on")
    if sizes := found.size_summary():
        for side in ("width", "height"):
            smallest, median, largest = sizes[side].values()
            typer.echo(f"{side}: {smallest} to {largest}, median {median}")
        common = (f"{row['width']}×{row['height']} ({row['images']})" for row in sizes["most_common"])
        typer.echo(f"sizes: {sizes['different']}, most often {', '.join(common)}")
    for title, counts in (("modes", found.modes), ("formats", found.formats), ("classes", found.classes)):
        if counts:
            typer.echo(f"{title}: {_counts(counts)}")
    _list("cannot be used", found.unreadable, shown=len(found.unreadable))
    _list("smaller than the crop", found.too_small, shown=len(found.too_small))
    _list("enlarged", found.enlarged)
    _list("groups of equal images", [" = ".join(group) for group in found.duplicates])
    _list("groups that look the same", [" ~ ".join(group) for group in found.near_duplicates])
    for note in found.notes:
        typer.echo(f"note: {note}")


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def _list(title: str, lines: list[str], shown: int = _SHOWN) -> None:
    if lines:
        typer.echo(f"{title}: {len(lines)}")
    for line in lines[:shown]:
        typer.echo(f"  {line}")
    if len(lines) > shown:
        typer.echo(f"  … and {len(lines) - shown} more; --json has all")
