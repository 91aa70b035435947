"""The comparison as a tracker publishes it: tables in Markdown, and the names of its curves."""

from __future__ import annotations

from collections.abc import Sequence

from ganzoo.comparison.comparison import Comparison
from ganzoo.comparison.curves import figures
from ganzoo.comparison.page import default_title
from ganzoo.comparison.runs import shown
from ganzoo.comparison.table import BEST, TIED, figure_rows
from ganzoo.components.observer import Report
from ganzoo.storage.summary import SCORE
from ganzoo.text import markdown


def make_report(comparison: Comparison, title: str = "") -> Report:
    """Return the report of a comparison; without a title, it has one of what differs."""
    scores = {score.name for score in comparison.scores}
    drawn = [each for each in figures(comparison) if each.over == "step"]
    names = [SCORE + each.name if each.name in scores else each.name for each in drawn]
    differences = "\n".join([differences_table(comparison), "", *(f"- {markdown(note)}" for note in comparison.notes)])
    return Report(
        title=title or default_title(comparison),
        tables={"What differs": differences, "Figures": figures_table(comparison)},
        curves=sorted(names, key=lambda name: not name.startswith(SCORE)),
        runs={each.name: [run.path for run in each.runs if run.path] for each in comparison.variants},
    )


def differences_table(comparison: Comparison) -> str:
    """Return the differing options as a Markdown table."""
    if not comparison.differences:
        return "The recipes do not differ in any option."
    rows = [
        [variant.name, *(shown(option.values[index]) for option in comparison.differences)]
        for index, variant in enumerate(comparison.variants)
    ]
    return _markdown(["variant", *(option.key for option in comparison.differences)], rows)


def figures_table(comparison: Comparison) -> str:
    """Return mean ± deviation of every figure as Markdown, followed by why scores are not ranked."""
    rows = [[label, *cells] for label, cells in figure_rows(comparison)]
    refused = []
    for score in comparison.scores:
        label = f"{score.name} {score.arrow}"
        rows.append([f"{label}, last", *map(score.cell, range(len(score.variants)))])
        if score.direction != "none":
            rows.append([f"{label}, best", *(score.text(each.best) for each in score.variants)])
        refused += [f"- {markdown(score.name)} is not ranked: {markdown(why)}" for why in score.refused]
    table = _markdown(["", *(variant.name for variant in comparison.variants)], rows)
    return "\n".join([table, "", f"Mean ± deviation over seeds; ★ {BEST}, ≈ {TIED}.", "", *refused])


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(markdown(cell) for cell in line) + " |" for line in lines)
