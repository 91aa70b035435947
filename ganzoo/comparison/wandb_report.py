"""The comparison on W&B: a workspace of its runs, and a report with its tables and curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import chain
from typing import Any

from ganzoo.comparison.comparison import Comparison
from ganzoo.comparison.curves import figures
from ganzoo.comparison.page import default_title
from ganzoo.comparison.runs import shown
from ganzoo.comparison.table import BEST, TIED, figure_rows
from ganzoo.errors import GanzooError, RequestError
from ganzoo.storage.run_directory import RunDirectory
from ganzoo.storage.summary import SCORE
from ganzoo.terminal import warn
from ganzoo.text import markdown, printable

PANELS = 12


@dataclass(frozen=True)
class Tracked:
    """The runs' project and the ids of each variant's on W&B; the entity is empty where all were tracked offline."""

    entity: str
    project: str
    ids: list[list[str]]


def publish(comparison: Comparison, title: str = "") -> dict[str, str]:
    """Build the workspace and the report, and return the address of each.

    Raises:
        GanzooError: nobody is logged in here, wandb-workspaces is not installed, the runs are of several projects
            or of none, or W&B refuses.
    """
    import wandb

    from ganzoo.observers.wandb.session import in_short, require_key

    require_key()
    tracked = find(comparison)
    if find_spec("wandb_workspaces") is None:
        raise RequestError("--wandb: needs wandb-workspaces: pip install wandb-workspaces")
    try:
        if not tracked.entity:
            tracked = Tracked(str(wandb.Api().default_entity), tracked.project, tracked.ids)
        made = {
            "workspace": workspace(comparison, tracked, title).save(),
            "report": report(comparison, tracked, title).save(),
        }
    except Exception as error:
        raise GanzooError(f"--wandb: W&B does not take the comparison: {in_short(error)}") from error
    return {what: str(each.url) for what, each in made.items()}


def find(comparison: Comparison) -> Tracked:
    """Find where the runs are tracked, by the `wandb.json` of each.

    Raises:
        RequestError: none is tracked, or they are in several projects.
    """
    ids: list[list[str]] = []
    places: set[tuple[str, str]] = set()
    for variant in comparison.variants:
        records = [RunDirectory(run.path).read_json("wandb.json") for run in variant.runs if run.path]
        records = [record for record in records if record.get("id") and record.get("project")]
        ids.append([str(record["id"]) for record in records])
        places |= {(str(record.get("entity") or ""), str(record["project"])) for record in records}
    if not places:
        raise RequestError('--wandb: none of these runs is tracked on W&B; tracking.wandb.mode = "auto" does it')
    named = {(entity, project) for entity, project in places if entity} or places
    if len(named) > 1 or len({project for _, project in places}) > 1:
        raise RequestError(
            f"--wandb: the runs are of several projects: {', '.join(sorted('/'.join(p) for p in places))}"
        )
    missing = len(comparison.runs) - sum(map(len, ids))
    if missing:
        warn(f"--wandb: {missing} of {len(comparison.runs)} runs are not tracked on W&B and are left out there")
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
    notes = [wr.UnorderedList([printable(note) for note in comparison.notes])] if comparison.notes else []
    return wr.Report(
        entity=tracked.entity,
        project=tracked.project,
        title=title or default_title(comparison),
        description="By ganzoo compare",
        width="fluid",
        blocks=[
            *(wr.H2("What differs"), wr.MarkdownBlock(differences_table(comparison)), *notes),
            *(wr.H2("Figures"), wr.MarkdownBlock(figures_table(comparison))),
            *(wr.H2("Curves"), wr.PanelGrid(runsets=runsets, panels=[*chain(*_panels(comparison).values())])),
        ],
    )


def workspace(comparison: Comparison, tracked: Tracked, title: str = "") -> Any:
    """Build a workspace that shows only these runs, grouped by variant."""
    import wandb_workspaces.workspaces as ws
    from wandb_workspaces import expr

    everything = [number for ids in tracked.ids for number in ids]
    return ws.Workspace(
        entity=tracked.entity,
        project=tracked.project,
        name=title or default_title(comparison),
        sections=[
            ws.Section(name=name, panels=each, is_open=True) for name, each in _panels(comparison).items() if each
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
    rows = [[label, *cells] for label, cells in figure_rows(comparison)]
    refused = []
    for score in comparison.scores:
        label, each = f"{score.name} {score.arrow}", list(enumerate(score.variants))
        rows.append([f"{label}, last", *(f"{score.text(own.last)} {score.mark(index)}".strip() for index, own in each)])
        if score.direction != "none":
            rows.append([f"{label}, best", *(score.text(own.best) for _, own in each)])
        refused += [f"- {markdown(score.name)} is not ranked: {markdown(why)}" for why in score.refused]
    table = _markdown(["", *(variant.name for variant in comparison.variants)], rows)
    return "\n".join([table, "", f"Mean ± deviation over seeds; ★ {BEST}, ≈ {TIED}.", "", *refused])


def _panels(comparison: Comparison) -> dict[str, list[Any]]:
    """Return the panels of a workspace or report, by section."""
    import wandb_workspaces.reports.v2 as wr

    scores = {score.name for score in comparison.scores}
    names = [SCORE + each.name if each.name in scores else each.name for each in figures(comparison)]
    plots = [
        wr.LinePlot(
            title=printable(name),
            x="step",
            y=[name],
            aggregate=True,
            groupby="job_type",
            groupby_aggfunc="mean",
            groupby_rangefunc="minmax",
        )
        for name in names[:PANELS]
    ]
    return {
        "Scores": [plot for plot in plots if plot.title.startswith(SCORE)],
        "Samples": [wr.MediaBrowser(title="Samples", media_keys=["samples/grid"], num_columns=4)],
        "Training": [plot for plot in plots if not plot.title.startswith(SCORE)],
    }


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(markdown(cell) for cell in line) + " |" for line in lines)
