"""Options, checks and output that several commands share; those of plugins may import them too."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ganzoo.cli import cleanup
from ganzoo.errors import RequestError
from ganzoo.text import LARGEST_INT, printable, printable_lines, to_json

if TYPE_CHECKING:
    from ganzoo.recipe.model import Recipe
    from ganzoo.registry.plugin_manager import PluginManager


def check_run(run: Path) -> Path:
    """Return the path of what a command is to open; checked before torch is imported, which takes seconds.

    Raises:
        RunDirectoryError: there is no run directory, export or file.
    """
    from ganzoo.storage.manifest import is_export
    from ganzoo.storage.run_directory import RunDirectory

    if not run.is_file() and not is_export(run):
        RunDirectory.open(run)
    return run


RecipeFile = Annotated[Path, typer.Argument(help="A recipe file.")]
RunFolder = Annotated[Path, typer.Argument(help="A run directory.", callback=check_run)]


def _changes(what: str) -> Any:
    return typer.Option("--set", help=f"{what}; may be given again.", metavar="KEY=VALUE")


Overrides = Annotated[list[str] | None, _changes("Change the recipe, such as trainer.batch_size=64")]
Sampling = Annotated[
    list[str] | None, _changes("Change how samples are made, such as generator.sampling.truncation=0.7")
]
Scoring = Annotated[list[str] | None, _changes("Change how scores are taken, such as evaluation.real.split=test")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing files of the same names.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
WhichStep = Annotated[
    int | None, typer.Option("--step", min=0, help="Step of the checkpoint to use; default: the last.")
]
WhichNetwork = Annotated[
    str | None, typer.Option("--network", help="Generator to take, where the trainer has several; default: the first.")
]
WhichWeights = Annotated[Literal["auto", "ema", "raw"], typer.Option(help="auto: ema where there is one.")]
WhichStatistics = Annotated[
    Literal["auto", "running", "batch", "standing"] | None,
    typer.Option(help="Statistics of batch norm; default: as the recipe says."),
]


def checked_recipe(
    recipe: Path, overrides: Sequence[str] | None, *, trust: bool | None = None
) -> tuple[Recipe, PluginManager]:
    """Return a recipe and the plugins; a mistake in it is told before torch is imported, which takes seconds.

    Plugin files are imported, which executes them, with `trust`; default: as `trusted` says. Raises as `load_recipe`.
    """
    from ganzoo.recipe.load import load_recipe, trusted
    from ganzoo.registry.plugin_manager import plugin_manager

    note = None if os.environ.get("RANK", "0") == "0" else lambda _: None  # of several processes one prints
    trust = trusted() if trust is None else trust
    return load_recipe(recipe, plugin_manager(), overrides or (), trust=trust, note=note)


def seed_option(what: str) -> Any:
    """Return the option of a seed, `--seed`; `what` says of what."""
    return typer.Option(min=0, max=LARGEST_INT, help=what)


def echo(message: object, *, err: bool = False) -> None:
    """Print a message with text of any origin in it, on stdout or stderr."""
    typer.echo(printable_lines(message), err=err)


def echo_document(text: str) -> None:
    """Print JSON, TOML or rows of columns on stdout."""
    typer.echo(printable(text, keep="\n\t"))


def echo_json(values: object) -> None:
    """Print values as JSON on stdout."""
    echo_document(to_json(values))


def echo_path(path: Path) -> None:
    """Print the path that a command made on stdout, as it is where a program reads it."""
    shown = str(path)
    typer.echo(printable(shown) if sys.stdout.isatty() or shown.isprintable() else os.fsencode(shown))


def check_file(out: Path, *suffixes: str, overwrite: bool) -> None:
    """Check before any work that the file `out` can be written, and make its folder.

    Without `suffixes` it may be called as one likes.

    Raises:
        RequestError: it is a file of a kind that is not made, is there already, is a folder, or cannot be written.
    """
    if suffixes and out.suffix.lower() not in suffixes:
        raise RequestError(f"--out {out}: give a file that ends in {' or '.join(suffixes)}")
    check_unused(out, overwrite)
    if os.path.lexists(out) and out.is_dir():
        raise RequestError(f"--out {out}: is a folder: name a file")
    _make_folder(out.parent, out, out)


def check_folder(out: Path, *, overwrite: bool) -> None:
    """Check before any work that files can be written into the folder `out`, and make it.

    Raises:
        RequestError: there are files in it, or it cannot be made or written into.
    """
    check_unused(out, overwrite)
    _make_folder(out, out / "0000.png", out)


def check_unused(out: Path, overwrite: bool, option: str = "--out ") -> None:
    """Check before any work that nothing is there, unless it may be overwritten.

    Raises:
        RequestError: a file, a link or a folder with files is there; the text names `option`.
    """
    from ganzoo.storage import disk

    if not overwrite:
        disk.check_unused(out, "name another place, or give --overwrite" if option else "give --overwrite", option)


def _make_folder(folder: Path, file: Path, out: Path) -> None:
    from ganzoo.storage.disk import check_writable, made_folder

    try:
        cleanup.enter_context(made_folder(folder))
    except OSError as error:
        raise RequestError(f"--out {out}: {folder} cannot be made: {error.strerror}") from error
    check_writable(file, out)
