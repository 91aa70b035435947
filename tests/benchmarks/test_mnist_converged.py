"""The table of MNIST's recipes trained to the end of their score: it shows the records, and a short run makes one."""

from __future__ import annotations

import dataclasses
import importlib
import json
import shutil
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest

from ganzoo.recipe.load import load_recipe
from ganzoo.registry.plugin_manager import PluginManager

ROOT = Path(__file__).parents[2]


@pytest.fixture
def converged(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("mnist_converged")


def test_page_and_plot_show_the_records(converged: ModuleType) -> None:
    page, records = converged.PAGE.read_text(encoding="utf-8"), converged.read_records(converged.RESULTS)
    assert page == converged.with_table(page, records), "run: python benchmarks/mnist_converged.py table"
    assert converged.table(records) in page
    plot = converged.PLOT.read_text(encoding="utf-8")
    assert plot == converged.plot(records), "run: python benchmarks/mnist_converged.py plot"
    lines = [each for each in ElementTree.fromstring(plot) if each.tag.endswith("polyline")]
    assert [len(each.get("points", "").split()) for each in lines] == [
        len(each["averaged_curve"]) for each in records if each["seed"] == 0
    ]


def test_each_row_is_a_recipe_with_an_average(converged: ModuleType, manager: PluginManager) -> None:
    for name in converged.ROWS:
        recipe, _ = load_recipe(converged.recipe_of(name), manager, tuple(converged.changes(name)))
        options = recipe.trainer.model_dump()
        assert options["ema_decay"] or options["ema_half_life"] is not None, name
        assert recipe.run.steps == converged.ROWS[name].steps
        assert recipe.run.steps == converged.EVALUATIONS * (recipe.evaluation.every or 0)


@pytest.fixture
def short(converged: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Make the plain GAN's row a matter of seconds, with these changes."""
    monkeypatch.setitem(converged.ROWS, "gan_mnist", dataclasses.replace(converged.ROWS["gan_mnist"], steps=4))
    monkeypatch.setattr(converged, "EVALUATIONS", 2)
    monkeypatch.setattr(converged, "SAMPLES", 100)
    return ["dataset={name = 'digits', image_size = 16}", "generator.hidden=[8]", "evaluation.image_size=16"]


@pytest.mark.slow
def test_a_short_run_is_recorded_once(converged: ModuleType, short: list[str], tmp_path: Path) -> None:
    results = tmp_path / "results.jsonl"
    for _ in range(2):
        converged.train_and_note(results, tmp_path / "runs", 3, "gan_mnist", short)
    (record,) = converged.read_records(results)
    assert (record["row"], record["seed"], record["step"], record["images"]) == ("gan_mnist", 3, 4, 1797)
    assert [step for step, _ in record["averaged_curve"]] == [2, 4]
    assert record["averaged_fd_classifier"] == pytest.approx(record["averaged_curve"][-1][1], abs=0.01)
    assert record["last_fd_classifier"] != record["averaged_fd_classifier"]
    assert converged.picture_of(tmp_path / "runs", "gan_mnist", "last", 3).is_file()
    assert converged.run_directory(tmp_path / "runs", "gan_mnist", 3).name == "0001"


@pytest.mark.slow
def test_a_killed_run_is_noted_and_goes_on(converged: ModuleType, short: list[str], tmp_path: Path) -> None:
    results, runs = tmp_path / "results.jsonl", tmp_path / "runs"
    converged.train_and_note(results, runs, 0, "gan_mnist", short)
    (whole,) = converged.read_records(results)
    results.unlink()
    run = converged.run_directory(runs, "gan_mnist", 0)
    (run / "summary.json").unlink()
    shutil.rmtree(run / "checkpoints" / "step_0000004")
    converged.note(results, converged.records(runs, "gan_mnist", 0), ["gan_mnist"])
    (record,) = converged.read_records(results)
    assert record["averaged_curve"] == whole["averaged_curve"]
    assert "last_fd_classifier" not in record
    assert "| not measured |  | not measured |  |" in converged.table([record])
    metrics = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text("".join(line for line in metrics if json.loads(line)["step"] <= 2))
    converged.note(results, converged.records(runs, "gan_mnist", 0), ["gan_mnist"])
    assert converged.read_records(results) == [record]  # the longer one
    results.unlink()
    converged.note(results, converged.records(runs, "gan_mnist", 0), ["gan_mnist"])
    (record,) = converged.read_records(results)
    assert (record["step"], "last_fd_classifier" in record) == (2, True)
    converged.train_and_note(results, runs, 0, "gan_mnist", short)
    (again,) = converged.read_records(results)
    assert converged.run_directory(runs, "gan_mnist", 0) == run
    assert again | {"seconds": 0} == whole | {"seconds": 0}
