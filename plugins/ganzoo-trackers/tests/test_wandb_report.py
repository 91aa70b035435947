"""The comparison on W&B: what would be sent, and what is said where it cannot be."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
from ganzoo_trackers.wandb import report as wandb_report

from ganzoo.comparison.comparison import Comparison, compare
from ganzoo.comparison.table import differences_table, figures_table, make_report
from ganzoo.errors import GanzooError, RequestError

pytestmark = pytest.mark.usefixtures("no_wandb_account")
MakeRun = Callable[..., Path]
needs_workspaces = pytest.mark.skipif(
    importlib.util.find_spec("wandb_workspaces") is None, reason="wandb-workspaces is not installed"
)


@pytest.fixture
def comparison(make_run: MakeRun) -> Comparison:
    """Two variants of two seeds, tracked in one project."""
    for loss in ("hinge", "mini|max"):
        for seed in range(2):
            scores = {step: {"fd_classifier": 10.0 + seed + step} for step in (20, 40)}
            run = make_run(loss.replace("|", ""), seed, scores=scores, loss__name=loss)
            record = {"id": f"{loss[0]}{seed}", "project": "p", "entity": "e" if seed else None, "mode": "online"}
            (run / "wandb.json").write_text(json.dumps(record))
    return compare(sorted(run.parent.parent.iterdir()))


def test_without_a_key_one_line_says_so(command: Callable[..., Any], comparison: Comparison):
    ended = command("compare", comparison.runs[0].path, "--wandb")
    assert ended.code == 2
    assert ended.err == "error: --wandb: no API key of W&B is known here; `wandb login` keeps one\n"


def test_without_the_extra_one_line_says_what_to_install(
    command: Callable[..., Any], comparison: Comparison, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    monkeypatch.setattr(wandb_report, "find_spec", lambda name: None)
    ended = command("compare", *sorted(run.path.parent for run in comparison.runs if run.path)[::2], "--wandb")
    assert ended.code == 2
    assert ended.err == "error: --wandb: needs wandb-workspaces: pip install wandb-workspaces\n"


def test_where_the_runs_are(comparison: Comparison):
    assert wandb_report.find(make_report(comparison)) == wandb_report.Tracked("e", "p", [["h0", "h1"], ["m0", "m1"]])


def test_runs_that_are_not_there(comparison: Comparison, make_run: MakeRun, capsys: pytest.CaptureFixture[str]):
    (comparison.runs[0].path / "wandb.json").write_text("{")  # type: ignore[operator]
    assert wandb_report.find(make_report(comparison)).ids == [["h1"], ["m0", "m1"]]
    other = make_run("x")
    with pytest.raises(RequestError, match="none of these runs is tracked"):
        wandb_report.find(make_report(compare(other)))
    (other / "wandb.json").write_text(json.dumps({"id": "x", "project": "q", "entity": "e"}))
    runs = [run.path for run in comparison.runs if run.path]
    with pytest.raises(RequestError, match="of several projects"):
        wandb_report.find(make_report(compare([*runs, other])))


def test_tables_hold_what_the_terminal_shows(comparison: Comparison):
    assert differences_table(comparison).splitlines() == [
        "| variant | loss.name |",
        "| --- | --- |",
        "| hinge | hinge |",
        "| minimax | mini\\|max |",
    ]
    figures = figures_table(comparison)
    assert "| fd\\_classifier ↓, last | 50.50 ± 0.71 | 50.50 ± 0.71 |" in figures
    assert "| fd\\_classifier ↓, best | 30.50 ± 0.71 | 30.50 ± 0.71 |" in figures
    assert "| runs | 2 complete | 2 complete |" in figures
    assert "Scores: mean ± deviation over seeds; ★ best last score, ≈ not told from it by Welch's t-tests" in figures
    assert "log-rank" not in figures


@needs_workspaces
def test_the_report_and_the_workspace_show_these_runs_and_no_others(
    comparison: Comparison, monkeypatch: pytest.MonkeyPatch
):
    package = "wandb_workspaces.reports.v2.interface"
    monkeypatch.setattr(f"{package}._get_api", MagicMock())  # it asks the server who we are, and for the project's id
    monkeypatch.setattr(f"{package}.execute_graphql", lambda *question: {"project": {"internalId": "p"}})
    tracked = wandb_report.find(make_report(comparison))
    sent = wandb_report.document(make_report(comparison, "A title"), tracked)._to_model().model_dump_json()
    for text in ("A title", "h0", "m1", "score/fd_classifier", "loss/generator", "samples/grid", "50.50 ± 0.71"):
        assert text in sent
    spec = wandb_report.workspace(make_report(comparison), tracked)._to_model().model_dump_json()
    for text in ("h0", "h1", "m0", "m1", "score/fd_classifier", "loss/discriminator", "samples/grid"):
        assert text in spec


@needs_workspaces
def test_publishing(comparison: Comparison, monkeypatch: pytest.MonkeyPatch):
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws

    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setattr(wr.Report, "save", lambda self: SimpleNamespace(url="report-address"))
    monkeypatch.setattr(ws.Workspace, "save", lambda self: SimpleNamespace(url="workspace-address"))
    assert wandb_report.publish(make_report(comparison)) == {
        "workspace": "workspace-address",
        "report": "report-address",
    }

    def refuse(self: Any) -> None:
        raise ValueError("permission denied\n  details")

    monkeypatch.setattr(wr.Report, "save", refuse)
    with pytest.raises(GanzooError, match=r"does not take the comparison: permission denied$"):
        wandb_report.publish(make_report(comparison))
