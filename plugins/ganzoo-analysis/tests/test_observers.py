"""The observer and the tracker of a recipe: what they log and write, in a resumed run too."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from tiny_recipe import tiny_recipe

from ganzoo import api


@pytest.fixture
def recipe(tmp_path: Path) -> dict[str, Any]:
    tracking = {"csv": {}, "wandb": {"mode": "disabled"}}
    return tiny_recipe(tmp_path, observers={"weight_norms": {"every": 2}}, tracking=tracking)


def test_norms_reach_the_metrics_the_console_and_the_table(recipe: dict[str, Any], capsys: pytest.CaptureFixture[str]):
    run = api.run(recipe)
    norms = {row["step"]: row["weight_norm/generator"] for row in run.metrics if "weight_norm/generator" in row}
    assert list(norms) == [2, 4, 6]
    squares = sum(float(weight.detach().square().sum()) for weight in run.generator.parameters())
    assert norms[6] == pytest.approx(squares**0.5, rel=1e-5)
    assert f"weight_norm/generator {norms[6]:.3g}" in capsys.readouterr().err.splitlines()[-2]
    with (run.path / "metrics.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["2", "4", "6"]
    assert float(rows[2]["weight_norm/generator"]) == norms[6]
    assert float(rows[2]["loss/generator"]) == run.metrics[-1]["loss/generator"]


def test_resumed_with_other_options(recipe: dict[str, Any]):
    run = api.resume(api.run(recipe).path, {"run.steps": 9, "observers.weight_norms.every": 3})
    assert [row["step"] for row in run.metrics if "weight_norm/generator" in row] == [2, 4, 6, 9]
    assert len((run.path / "metrics.csv").read_text().splitlines()) == 1 + 5


def test_without_tables_there_are_none(recipe: dict[str, Any]):
    del recipe["observers"], recipe["tracking"]["csv"]
    run = api.run(recipe)
    assert not any("weight_norm/generator" in row for row in run.metrics)
    assert not (run.path / "metrics.csv").exists()


def test_a_wrong_table_is_told(recipe: dict[str, Any]):
    recipe["observers"] = {"weight_norm": {}}
    with pytest.raises(api.RequestError, match=r"observers\.weight_norm: .*did you mean weight_norms\?"):
        api.run(recipe)
    recipe["observers"] = {"weight_norms": {"evry": 3}}
    with pytest.raises(api.RequestError, match=r"observers\.weight_norms\.evry: .*did you mean every\?"):
        api.run(recipe)
