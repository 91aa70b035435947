"""The comparison on W&B: a workspace of its runs, and a report with its tables and curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import chain
from typing import Any

from ganzoo.plugin import GanzooError, Report, RequestError, RunDirectory, printable, warn
from ganzoo_trackers.facts import SCORE
from ganzoo_trackers.wandb.record import RECORD
from ganzoo_trackers.wandb.session import in_short, require_key

PANELS = 12


@dataclass(frozen=True)
class Tracked:
    """The runs' project and the ids of each variant's on W&B; the entity is empty where all were tracked offline."""

    entity: str
    project: str
    ids: list[list[str]]


def publish(report: Report) -> dict[str, str]:
    """Build the workspace and the report, and return the address of each.

    Raises:
        GanzooError: nobody is logged in here, wandb-workspaces is not installed, the runs are of several projects
            or of none, or W&B refuses.
    """
    import wandb

    require_key()
    tracked = find(report)
    if find_spec("wandb_workspaces") is None:
        raise RequestError("--wandb: needs wandb-workspaces: pip install wandb-workspaces")
    try:
        if not tracked.entity:
            tracked = Tracked(str(wandb.Api().default_entity), tracked.project, tracked.ids)
        made = {"workspace": workspace(report, tracked).save(), "report": document(report, tracked).save()}
    except Exception as error:
        raise GanzooError(f"--wandb: W&B does not take the comparison: {in_short(error)}") from error
    return {what: str(each.url) for what, each in made.items()}


def find(report: Report) -> Tracked:
    """Find where the runs are tracked, by the `wandb.json` of each.

    Raises:
        RequestError: none is tracked, or they are in several projects.
    """
    ids: list[list[str]] = []
    places: set[tuple[str, str]] = set()
    for runs in report.runs.values():
        records = [RunDirectory(path).read_json(RECORD) for path in runs]
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
    runs_there = sum(map(len, report.runs.values()))
    missing = runs_there - sum(map(len, ids))
    if missing:
        warn(f"--wandb: {missing} of {runs_there} runs are not tracked on W&B and are left out there")
    (place,) = named
    return Tracked(*place, ids)


def document(report: Report, tracked: Tracked) -> Any:
    """Build a report of the tables, and each variant's mean curves."""
    import wandb_workspaces.reports.v2 as wr
    from wandb_workspaces import expr

    runsets = [
        wr.Runset(
            entity=tracked.entity,
            project=tracked.project,
            name=name,
            filters=expr.And(expr.Metric("ID").isin(ids)),
            groupby=["JobType"],
        )
        for name, ids in zip(report.runs, tracked.ids, strict=True)
        if ids
    ]
    return wr.Report(
        entity=tracked.entity,
        project=tracked.project,
        title=report.title,
        description="By ganzoo compare",
        width="fluid",
        blocks=[
            *chain(*((wr.H2(heading), wr.MarkdownBlock(table)) for heading, table in report.tables.items())),
            *(wr.H2("Curves"), wr.PanelGrid(runsets=runsets, panels=[*chain(*_panels(report.curves).values())])),
        ],
    )


def workspace(report: Report, tracked: Tracked) -> Any:
    """Build a workspace that shows only these runs, grouped by variant."""
    import wandb_workspaces.workspaces as ws
    from wandb_workspaces import expr

    everything = [number for ids in tracked.ids for number in ids]
    sections = _panels(report.curves).items()
    return ws.Workspace(
        entity=tracked.entity,
        project=tracked.project,
        name=report.title,
        sections=[ws.Section(name=name, panels=each, is_open=True) for name, each in sections if each],
        runset_settings=ws.RunsetSettings(
            filters=expr.And(expr.Metric("ID").isin(everything)), groupby=[expr.Metric("JobType")]
        ),
    )


def _panels(curves: Sequence[str]) -> dict[str, list[Any]]:
    """Return the panels of a workspace or report, by section."""
    import wandb_workspaces.reports.v2 as wr

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
        for name in curves[:PANELS]
    ]
    return {
        "Scores": [plot for plot in plots if plot.title.startswith(SCORE)],
        "Samples": [wr.MediaBrowser(title="Samples", media_keys=["samples/grid"], num_columns=4)],
        "Training": [plot for plot in plots if not plot.title.startswith(SCORE)],
    }
