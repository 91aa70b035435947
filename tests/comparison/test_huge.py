"""Numbers at the ends of what a float holds, from a run that diverged or files that were forged."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ganzoo.comparison.curves import Figure, Point, chart
from ganzoo.comparison.runs import finite_number
from ganzoo.comparison.statistics import Spread
from ganzoo.text import duration

VALUES = [1e308, -1e308, 1.7e308, -1.7e308, 5e-324, 0.0]


@pytest.mark.parametrize("value", [*VALUES, 10**400, math.inf, math.nan, True, "1"])
def test_squares_of_numbers_from_files_are_finite(value: Any):
    taken = finite_number(value)
    if isinstance(value, float) and math.isfinite(value):
        assert taken is not None
        spread = Spread((taken, -taken, 0.0))
        assert math.isfinite(spread.deviation or 0.0)
        assert spread.text()
    else:
        assert taken is None


def test_charts_and_times_of_huge_numbers():
    taken = [finite_number(value) or 0.0 for value in VALUES]
    curve = [Point(step, value, min(value, 0.0), max(value, 0.0)) for step, value in enumerate(taken)]
    assert "nan" not in str(chart(Figure("loss", [curve]), ["a"]))
    assert [duration(each) for each in (1e300, -5, 61.4)] == ["1000000 days, 0:00:00", "0:00:00", "0:01:01"]


def test_a_comparison_of_diverged_runs(command: Callable[..., Any], make_run: Callable[..., Path], tmp_path: Path):
    runs = [make_run("a", seed=seed, scores={20: {"fd": 1.0}, 40: {"fd": 2.0}}) for seed in (1, 2)]
    for place, run in enumerate(runs):
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        for at, row in enumerate(rows):
            row |= {key: VALUES[(at + place) % 6] for key, value in row.items() if key != "step" and value != "x"}
        (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        summary = json.loads((run / "summary.json").read_text())
        (run / "summary.json").write_text(
            json.dumps({key: 1.7e308 if isinstance(value, float) else value for key, value in summary.items()})
        )
        found = json.loads((run / "evaluation.json").read_text())
        for each in found:
            each["scores"] = dict.fromkeys(each["scores"], VALUES[2 + place])
        (run / "evaluation.json").write_text(json.dumps(found))
    ended = command("compare", *runs, "--out", tmp_path / "page.html")
    assert (ended.code, "Traceback" in ended.err) == (0, False)
    assert "nan" not in (tmp_path / "page.html").read_text().lower().replace("tenant", "")
