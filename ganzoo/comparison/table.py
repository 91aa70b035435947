"""Tables of the comparison for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from ganzoo.comparison.comparison import Comparison, seconds, speed
from ganzoo.comparison.scores import Score
from ganzoo.comparison.statistics import Spread
from ganzoo.comparison.variants import shown
from ganzoo.text import duration

CELL = 18
FIRST = 26
BEST, TIED = "best last score", "not told from it by two standard errors"
PIPED_WIDTH = 160
"""Width in columns where the output is no terminal."""


def print_tables(comparison: Comparison, where: Console) -> None:
    """Print the differing options, the figures of each variant, and the notes."""
    at_once = max(1, (where.width - FIRST) // CELL)
    for begin in range(0, len(comparison.variants), at_once):
        where.print(_table(comparison, range(begin, min(begin + at_once, len(comparison.variants)))))
    if any(score.best is not None for score in comparison.scores):
        where.print(f"mean ± deviation over seeds; ★ {BEST}, ≈ {TIED}", style="dim")
    for score in comparison.scores:
        for reason in score.refused:
            where.print(Text.assemble((f"{score.name} is not ranked: ", "yellow"), reason), soft_wrap=True)
        for note in score.notes:
            where.print(Text(f"{score.name}: {note}"), soft_wrap=True)
    for note in comparison.notes:
        where.print(Text(note), soft_wrap=True)


def _table(comparison: Comparison, chosen: Sequence[int]) -> Table:
    variants = comparison.variants
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    table.add_column("")
    for index in chosen:
        table.add_column(Text(variants[index].name), justify="right", overflow="fold")
    for option in comparison.differences:
        table.add_row(Text(option.key, "cyan"), *(Text(shown(option.values[index]), "cyan") for index in chosen))
    table.add_section()
    rows = {
        "runs": [variants[index].status for index in chosen],
        "wall time": [time_words(seconds(variants[index])) for index in chosen],
        "images/s": [str(speed(variants[index]) or "—") for index in chosen],
    }
    for label, cells in rows.items():
        table.add_row(label, *map(Text, cells))
    table.add_section()
    for score in comparison.scores:
        table.add_row(f"{escape(score.name)} {score.arrow}".rstrip(), *(_last(score, index) for index in chosen))
        if score.direction != "none" and any(each.best != each.last for each in score.variants):
            table.add_row(Text("  best", "dim"), *(Text(score.text(score.variants[i].best), "dim") for i in chosen))
    return table


def _last(score: Score, index: int) -> Text:
    text = Text(score.text(score.variants[index].last))
    if index == score.best:
        text.append(" ★", "bold green")
    elif index in score.tied:
        text.append(" ≈", "green")
    elif not score.ranked:
        text.append(" ?", "yellow")
    return text


def time_words(spread: Spread | None) -> str:
    """Format a time as h:mm:ss, with its deviation."""
    if spread is None:
        return "—"
    return duration(spread.mean) + (f" ± {duration(spread.deviation)}" if spread.deviation is not None else "")
