"""The comparison on W&B: a workspace of its runs, and a report with its tables and curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ganzoo.comparison.collect import RunRecord, clean
from ganzoo.comparison.comparison import Comparison, seconds, speed
from ganzoo.comparison.curves import figures
from ganzoo.comparison.page import default_title
from ganzoo.comparison.table import BEST, TIED, time_words
from ganzoo.comparison.variants import shown
from ganzoo.errors import GanzooError, RequestError
from ganzoo.storage.summary import SCORE
from ganzoo.sweeps.child_processes import read_json
from ganzoo.terminal import warn

PANELS = 12
GRIDS = ("samples/grid",)


@dataclass(frozen=True)
class Tracked:
    """The runs' project and ids on W&B.

    Attributes:
        entity: user or team; empty where all runs were tracked offline.
        project: of all of them.
        ids: of each variant's runs.
    """

    entity: str
    project: str
    ids: list[list[str]]


def publish(comparison: Comparison, title: str = "") -> dict[str, str]:
    """Build the workspace and the report, and return the address of each.

    Raises:
        GanzooError: nobody is logged in here, wandb-workspaces is not installed, the runs are of several projects
            or of none, or W&B refuses.
    """
    from ganzoo.observers.wandb.account import in_short, require_key

    require_key()
    tracked = find(comparison)
    try:
        import wandb
        import wandb_workspaces
    except ImportError as error:
        raise RequestError("--wandb: needs wandb-workspaces: pip install wandb-workspaces") from error
    assert wandb_workspaces
    try:
        if not tracked.entity:
            tracked = Tracked(str(wandb.Api().default_entity), tracked.project, tracked.ids)
        saved = {
            "workspace": workspace(comparison, tracked, title).save(),
            "report": report(comparison, tracked, title).save(),
        }
    except Exception as error:
        raise GanzooError(f"--wandb: W&B does not take the comparison: {in_short(error)}") from error
    return {what: str(made.url) for what, made in saved.items()}


def find(comparison: Comparison) -> Tracked:
    """Find where the runs are tracked, by the `wandb.json` of each.

    Raises:
        RequestError: none is tracked, or they are in several projects.
    """
    ids: list[list[str]] = []
    places: set[tuple[str, str]] = set()
    missing: list[RunRecord] = []
    for variant in comparison.variants:
        ids.append([])
        for run in variant.runs:
            record = read_json(run.path / "wandb.json") if run.path else {}
            if record.get("id") and record.get("project"):
                ids[-1].append(str(record["id"]))
                places.add((str(record.get("entity") or ""), str(record["project"])))
            else:
                missing.append(run)
    if not places:
        raise RequestError('--wandb: none of these runs is tracked on W&B; tracking.wandb.mode = "auto" does it')
    named = {(entity, project) for entity, project in places if entity} or places
    if len(named) > 1 or len({project for _, project in places}) > 1:
        raise RequestError(
            f"--wandb: the runs are of several projects: {', '.join(sorted('/'.join(p) for p in places))}"
        )
    if missing:
        warn(f"--wandb: {len(missing)} of {len(comparison.runs)} runs are not tracked on W&B and are left out there")
    (place,) = named
    return Tracked(*place, ids)


def report(comparison: Comparison, tracked: Tracked, title: str = "") -> Any:
    """Build a report of the differing options, the figures, the scores, and each variant's mean curves."""
    import wandb_workspaces.reports.v2 as wr
    from wandb_workspaces import expr

    runsets = [
        wr.Runset(
            entity=tracked.entity,
            project=tracked.project,
            name=variant.name,
            filters=expr.And(expr.Metric("ID").isin(ids)),
            groupby=["JobType"],
        )
        for variant, ids in zip(comparison.variants, tracked.ids, strict=True)
        if ids
    ]
    notes = [wr.UnorderedList([clean(note) for note in comparison.notes])] if comparison.notes else []
    return wr.Report(
        entity=tracked.entity,
        project=tracked.project,
        title=title or default_title(comparison),
        description="By ganzoo compare",
        width="fluid",
        blocks=[
            *(wr.H2("What differs"), wr.MarkdownBlock(differences_table(comparison)), *notes),
            *(wr.H2("Figures"), wr.MarkdownBlock(figures_table(comparison))),
            *(wr.H2("Curves"), wr.PanelGrid(runsets=runsets, panels=[*_plots(comparison), _grids()])),
        ],
    )


def workspace(comparison: Comparison, tracked: Tracked, title: str = "") -> Any:
    """Build a workspace that shows only these runs, grouped by variant."""
    import wandb_workspaces.workspaces as ws
    from wandb_workspaces import expr

    plots = _plots(comparison)
    scores = [plot for plot in plots if plot.title.startswith(SCORE)]
    others = [plot for plot in plots if plot not in scores]
    everything = [number for ids in tracked.ids for number in ids]
    return ws.Workspace(
        entity=tracked.entity,
        project=tracked.project,
        name=title or default_title(comparison),
        sections=[
            *([ws.Section(name="Scores", panels=scores, is_open=True)] if scores else []),
            ws.Section(name="Samples", panels=[_grids()], is_open=True),
            ws.Section(name="Training", panels=others, is_open=True),
        ],
        runset_settings=ws.RunsetSettings(
            filters=expr.And(expr.Metric("ID").isin(everything)), groupby=[expr.Metric("JobType")]
        ),
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
    header = ["", *(variant.name for variant in comparison.variants)]
    rows = [["runs", *(variant.status for variant in comparison.variants)]]
    rows.append(["wall time", *(time_words(seconds(variant)) for variant in comparison.variants)])
    rows.append(["images/s", *(str(speed(variant) or "—") for variant in comparison.variants)])
    for score in comparison.scores:
        marks = ["★" if i == score.best else "≈" if i in score.tied else "" for i in range(len(comparison.variants))]
        for what in ("last",) if score.direction == "none" else ("last", "best"):
            cells = [score.text(getattr(each, what)) for each in score.variants]
            label = f"{score.name} {score.arrow}".rstrip() + f", {what}"
            own = marks if what == "last" else [""] * len(marks)
            rows.append([label, *(f"{cell} {mark}".strip() for cell, mark in zip(cells, own, strict=True))])
    refused = [
        f"- {_escaped(score.name)} is not ranked: {_escaped(why)}"
        for score in comparison.scores
        for why in score.refused
    ]
    return "\n".join([_markdown(header, rows), "", f"Mean ± deviation over seeds; ★ {BEST}, ≈ {TIED}.", "", *refused])


def _plots(comparison: Comparison) -> list[Any]:
    import wandb_workspaces.reports.v2 as wr

    scores = {score.name for score in comparison.scores}
    names = [SCORE + each.name if each.name in scores else each.name for each in figures(comparison)]
    return [
        wr.LinePlot(
            title=clean(name),
            x="step",
            y=[name],
            aggregate=True,
            groupby="job_type",
            groupby_aggfunc="mean",
            groupby_rangefunc="minmax",
        )
        for name in names[:PANELS]
    ]


def _grids() -> Any:
    import wandb_workspaces.reports.v2 as wr

    return wr.MediaBrowser(title="Samples", media_keys=list(GRIDS), num_columns=4)


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(_escaped(cell) for cell in line) + " |" for line in lines)


def _escaped(text: str) -> str:
    """Escape text from a file for Markdown."""
    return "".join(f"\\{character}" if character in "\\`*_[]<>|#!" else character for character in clean(text))
