"""The comparison as tables: for a terminal, and in Markdown for the report that a tracker publishes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ganzoo.comparison.comparison import Comparison
from ganzoo.comparison.curves import figures
from ganzoo.comparison.runs import shown
from ganzoo.comparison.scores import Score
from ganzoo.comparison.statistics import Spread
from ganzoo.comparison.targets import TargetRanking
from ganzoo.components.observer import Report
from ganzoo.storage.summary import SCORE
from ganzoo.text import duration, markdown

CELL = 18
FIRST = 26
BEST, TIED = "best last score", "not told from it by Welch's t-tests at 5 % together"
TIMED = (
    "median seconds of training (lowest–highest of those that reached it), not of evaluation, samples and checkpoints; "
    "★ the shortest, ≈ not told from it by log-rank tests at 5 % together"
)
MARKS = {"★": "bold green", "≈": "green", "?": "yellow"}
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
    for line in (*ranking_lines(comparison), *comparison.notes):
        where.print(Text(line), soft_wrap=True)


def figure_rows(comparison: Comparison) -> Iterator[tuple[str, list[str]]]:
    """Yield how the runs of each variant ended, how long they trained, and how long until the target."""
    yield "runs", [variant.status for variant in comparison.variants]
    if (ranking := comparison.target) is not None:
        yield f"until {ranking.name}", [*map(ranking.cell, range(len(ranking.times)))]
    yield "training time", [time_words(variant.seconds) for variant in comparison.variants]
    yield "images/s", [str(variant.speed) for variant in comparison.variants]


def ranking_lines(comparison: Comparison) -> Iterator[str]:
    """Yield what the time to the target is, and the variants by it, a line each, the fastest first."""
    ranking = comparison.target
    if ranking is None:
        return
    yield from _target_notes(ranking)
    for place, index in enumerate(ranking.order, start=1):
        yield f"  {place}. {comparison.variants[index].name}: {ranking.cell(index)}"


def _target_notes(ranking: TargetRanking) -> Iterator[str]:
    """Yield what is counted of the time to the target, and why it is not ranked."""
    yield f"{ranking.name}: {TIMED}"
    for reason in ranking.refused:
        yield f"{ranking.name} is not ranked: {reason}"


def _table(comparison: Comparison, chosen: Sequence[int]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    table.add_column("")
    for index in chosen:
        table.add_column(Text(comparison.variants[index].name), justify="right", overflow="fold")
    for key, values in comparison.differences.items():
        table.add_row(Text(key, "cyan"), *(Text(shown(values[index]), "cyan") for index in chosen))
    table.add_section()
    for label, cells in figure_rows(comparison):
        table.add_row(label, *(Text(cells[index]) for index in chosen))
    table.add_section()
    for score in comparison.scores:
        table.add_row(Text(f"{score.name} {score.arrow}"), *(_last(score, index) for index in chosen))
        if any(each.best != each.last for each in score.variants):
            table.add_row(Text("  best", "dim"), *(Text(score.text(score.variants[i].best), "dim") for i in chosen))
    return table


def _last(score: Score, index: int) -> Text:
    text, mark = Text(score.text(score.variants[index].last)), score.mark(index)
    return text.append(f" {mark}", MARKS[mark]) if mark else text


def time_words(spread: Spread) -> str:
    """Format a time as h:mm:ss, with its deviation."""
    times = [spread.mean, spread.deviation] if spread else []
    return " ± ".join(duration(seconds) for seconds in times if seconds is not None) or "—"


def make_report(comparison: Comparison, title: str = "") -> Report:
    """Return the report of a comparison; without a title, it has one of what differs."""
    scores = {score.name for score in comparison.scores}
    drawn = [each for each in figures(comparison) if each.over == "step"]
    names = [SCORE + each.name if each.name in scores else each.name for each in drawn]
    differences = "\n".join([differences_table(comparison), "", *(f"- {markdown(note)}" for note in comparison.notes)])
    return Report(
        title=title or comparison.title,
        tables={"What differs": differences, "Figures": figures_table(comparison)},
        curves=sorted(names, key=lambda name: not name.startswith(SCORE)),
        runs={each.name: [run.path for run in each.runs if run.path] for each in comparison.variants},
    )


def differences_table(comparison: Comparison) -> str:
    """Return the differing options as a Markdown table."""
    if not comparison.differences:
        return "The recipes do not differ in any option."
    rows = [
        [variant.name, *(shown(values[index]) for values in comparison.differences.values())]
        for index, variant in enumerate(comparison.variants)
    ]
    return _markdown(["variant", *comparison.differences], rows)


def figures_table(comparison: Comparison) -> str:
    """Return mean ± deviation of every figure as Markdown, followed by what the target's row shows and lacks a rank."""
    rows = [[label, *cells] for label, cells in figure_rows(comparison)]
    notes = [f"- {markdown(line)}" for line in _target_notes(comparison.target)] if comparison.target else []
    for score in comparison.scores:
        label = f"{score.name} {score.arrow}"
        rows.append([f"{label}, last", *map(score.cell, range(len(score.variants)))])
        if score.direction != "none":
            rows.append([f"{label}, best", *(score.text(each.best) for each in score.variants)])
        notes += [f"- {markdown(score.name)} is not ranked: {markdown(why)}" for why in score.refused]
    table = _markdown(["", *(variant.name for variant in comparison.variants)], rows)
    return "\n".join([table, "", f"Scores: mean ± deviation over seeds; ★ {BEST}, ≈ {TIED}.", "", *notes])


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(markdown(cell) for cell in line) + " |" for line in lines)
