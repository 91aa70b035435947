"""`ganzoo compare`: variants side by side, on the terminal, as a page, as JSON and by trackers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from ganzoo.cli.options import AsJson, Overwrite, check_file, echo_json


def compare(
    runs: Annotated[
        list[Path], typer.Argument(help="Run directories, sweeps' directories, or folders of runs.", metavar="RUN...")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Write one page with curves, samples and protocol cards.", metavar="PAGE.html")
    ] = None,
    overwrite: Overwrite = False,
    title: Annotated[str, typer.Option(help="Title of the page and the report.")] = "",
    ignore: Annotated[
        list[str] | None,
        typer.Option(help="A field in which cards may differ: samples.images; may be given again.", metavar="FIELD"),
    ] = None,
    as_json: AsJson = False,
    trackers: Sequence[Any] = (),
) -> None:
    """Show runs side by side, grouped by their recipe without its seed.

    Example: ganzoo compare runs/dcgan-digits-sweep --out comparison.html
    """
    from rich.console import Console

    from ganzoo.comparison.comparison import compare as compare_runs
    from ganzoo.comparison.table import PIPED_WIDTH, make_report, print_tables
    from ganzoo.terminal import say

    if out is not None:
        check_file(out, overwrite=overwrite)
    comparison = compare_runs(runs, ignoring=ignore or ())
    if as_json:
        echo_json(comparison.to_dict())
    else:
        console = Console(highlight=False)
        if not console.is_terminal:
            console.width = PIPED_WIDTH
        print_tables(comparison, console)
    if out is not None:
        from ganzoo.comparison.page import write_page

        say(f"the page: {write_page(comparison, out, title)}")
    for entry in trackers:
        tracker = entry.load()(entry.config(name=entry.name))
        for what, address in tracker.publish(make_report(comparison, title)).items():
            say(f"{what}: {address}")
