"""ganzoo in a notebook: what cells show, how they stop, and the tutorial."""

from __future__ import annotations

import base64
import html
import importlib.util
import io
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook
from PIL import Image

import ganzoo
from ganzoo.errors import RecipeError, RequestError

STOPPED = """
import os, signal
import ganzoo
from ganzoo.plugin import hookimpl

class Stop:
    @hookimpl
    def step_ended(self, step):
        if step == 5:
            os.kill(os.getpid(), signal.SIGINT)  # what interrupting the kernel does

ganzoo.run({tables!r}, observers=[Stop()])
"""


@pytest.fixture(scope="module")
def notebook_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("notebook_script", Path(__file__).parents[1] / "docs" / "notebook.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tables_in: Callable[[Path], dict]) -> Any:
    """A run with two grids, an animation and scores."""
    tables = tables_in(tmp_path_factory.mktemp("trained"))
    tables["samples"] |= {"every": 3, "gif": True}
    tables["evaluation"] = {"every": 3, "samples": 16, "metrics": ["diversity"]}
    return ganzoo.run(tables)


def cells_of(table: str) -> list[list[str]]:
    """The text of an HTML table, row by row."""
    return [
        [html.unescape(cell) for cell in re.findall(r"<t[hd]>(.*?)</t[hd]>", row)]
        for row in re.findall(r"<tr>(.*?)</tr>", table)
    ]


class TestDisplay:
    def test_samples_are_a_picture(self, trained: Any) -> None:
        shown = trained.show(9, seed=3)
        assert (shown.mode, shown.size) == ("RGB", (3 * 18 + 2, 3 * 18 + 2))
        assert shown._repr_png_().startswith(b"\x89PNG")

    def test_film_is_the_animation_of_the_run(self, trained: Any) -> None:
        (data,) = re.findall(r'^<img src="data:image/gif;base64,(.*)">$', trained.film()._repr_html_())
        assert base64.b64decode(data) == (trained.path / "samples" / "evolution.gif").read_bytes()
        assert Image.open(io.BytesIO(base64.b64decode(data))).n_frames == 2  # type: ignore[attr-defined]

    def test_run_without_a_film(self, tables: dict) -> None:
        with pytest.raises(RequestError, match=r"evolution\.gif: is not there: a run makes it at its end.*; exports"):
            ganzoo.run(tables, ["run.steps=1"]).film()

    def test_run_shows_its_scores(self, trained: Any) -> None:
        head, row = cells_of(trained._repr_html_())
        assert head == [f"{trained.path} at step 6", "best", "last"]
        assert row[0] == "diversity"
        assert float(row[2]) == pytest.approx(trained.scores()["last"]["diversity"]["value"], rel=0.01)

    def test_scores_are_a_table(self, trained: Any, tmp_path: Path) -> None:
        evaluated = ganzoo.evaluate(trained, 16, out=tmp_path / "one.json")
        head, row = cells_of(evaluated._repr_html_())
        assert (head, row[0]) == (["score", "value"], "diversity")
        assert float(row[1]) == pytest.approx(evaluated.scores["diversity"], rel=0.01)
        head, row = cells_of(ganzoo.evaluate(trained, 16, seeds=2, out=tmp_path / "two.json")._repr_html_())
        assert head == ["score", "mean ± deviation"]
        assert re.fullmatch(r"[\d.]+ ± [\d.e-]+", row[1])

    def test_comparison_is_a_table_that_text_cannot_break(self, trained: Any) -> None:
        other = ganzoo.run(trained.recipe.to_dict(), {"trainer.batch_size": 4})
        compared = ganzoo.compare([trained.path, other.path])
        assert replace(compared, notes=["<b>"])._repr_html_().endswith("</table><br>&lt;b&gt;")
        shown = compared._repr_html_()
        rows = {first: rest for first, *rest in cells_of(shown)}
        assert rows["runs"] == ["1 complete", "1 complete"]
        assert sorted(rows["trainer.batch_size"]) == ["4", "8"]
        assert len(rows["diversity → 1"]) == 2
        assert shown.endswith("<br>one seed each: differences may be chance")


class TestRecipeText:
    def test_is_a_recipe(self, trained: Any) -> None:
        again = ganzoo.run(trained.recipe.to_toml(), {"run.steps": 1})
        assert again.recipe.generator == trained.recipe.generator
        assert again.metrics[-1]["step"] == 1

    def test_its_errors_call_it_recipe(self) -> None:
        with pytest.raises(RecipeError, match=r"^recipe: 1 problem\n  is not valid TOML: .*line 2"):
            ganzoo.run("[run]\nsteps = many\n")

    def test_one_line_is_a_file(self) -> None:
        with pytest.raises(RequestError, match="there is no such recipe file"):
            ganzoo.run("[run]")


def execute(folder: Path, *sources: str) -> list[Any]:
    """The outputs of the cells of a notebook that is run in a folder; an error ends no cell but its own."""
    notebook = new_notebook(cells=[new_code_cell(source) for source in sources])
    client = NotebookClient(notebook, allow_errors=True, coalesce_streams=True, timeout=300,
                            resources={"metadata": {"path": str(folder)}})  # fmt: skip
    client.execute()
    return [cell.outputs for cell in notebook.cells]


@pytest.mark.slow
def test_progress_stop_and_resume_in_a_kernel(tables: dict, tmp_path: Path) -> None:
    tables["run"]["steps"] = 100_000
    tables["run"]["root"] = "runs"
    stopped, resumed, wrong = execute(
        tmp_path,
        STOPPED.format(tables=tables),
        "print(ganzoo.resume('runs/tiny/0001', {'run.steps': 8}).checkpoint.step)",
        "ganzoo.run('gone.toml')",
    )
    progress, error = stopped
    assert progress.name == "stderr"
    assert re.search(r"^step 2/100000  loss D .*images/s", progress.text, re.MULTILINE)
    assert "\x1b" not in progress.text
    assert "interrupted at step 5 of 100000: ganzoo resume runs/tiny/0001" in progress.text
    assert error.traceback == ["Interrupted: stopped by SIGINT"]
    said = {each.name: each.text for each in resumed}
    assert "goes on from step 5 of 8" in said["stderr"]
    assert said["stdout"] == "8\n"
    assert wrong[-1].traceback == ["RequestError: gone.toml: there is no such recipe file"]


class TestTutorial:
    def test_page_and_notebook_agree(self, notebook_script: ModuleType) -> None:
        page = notebook_script.PAGE.read_text(encoding="utf-8")
        cells = nbformat.read(notebook_script.NOTEBOOK, as_version=4).cells
        places = [page.find(notebook_script.source_of(cell)) for cell in cells]
        assert -1 not in places, "run: python docs/notebook.py"
        assert places == sorted(places)
        assert page.count("```python") == sum(cell.cell_type == "code" for cell in cells)

    def test_notebook_is_kept_without_outputs(self, notebook_script: ModuleType) -> None:
        cells = nbformat.read(notebook_script.NOTEBOOK, as_version=4).cells
        assert [cell.outputs for cell in cells if cell.get("outputs")] == []

    @pytest.mark.slow
    def test_runs_from_nothing_to_a_compared_plugin(self, notebook_script: ModuleType, tmp_path: Path) -> None:
        outputs = [each for cell in notebook_script.executed(tmp_path).cells for each in cell.get("outputs", [])]
        pictures = [each for each in outputs if "image/png" in each.get("data", {})]
        assert len(pictures) == 3
        rows = {first: rest for first, *rest in cells_of(outputs[-1].data["text/html"])}
        assert rows["runs"] == ["1 complete", "1 complete"]
        assert sorted(rows["loss.name"]) == ["non_saturating", "smoothed"]
        assert [float(cell.split()[0]) < 40 for cell in rows["fd_classifier ↓"]] == [True, True]
