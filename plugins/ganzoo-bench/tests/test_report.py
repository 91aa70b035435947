"""The figures of a report, from turns that are known."""

from __future__ import annotations

from typing import Any

import pytest
from ganzoo_bench.report import report, to_text


def report_of(**seconds: list[float]) -> dict[str, Any]:
    measured = {
        "recipe": "some.toml",
        "machine": {"device": "cpu", "processor": "x", "threads": 2, "torch": "2", "precision": "bf16"},
        "batch_size": 10,
        "images_per_step": 10,
        "rounds": 3,
        "steps_per_round": 1,
        "matrix_product_flops": {"fp32": 2e9, "bf16": 4e9},
        "flop_per_image": 1e8,
        "peak_memory_bytes": None,
        "parts": {"generator": 1.0},
        "periodic_costs": {"checkpoint": {"seconds": 5.0, "every": 100}},
    }
    return report(seconds, measured)


def test_ratios_are_of_the_best_turns_and_of_the_median_round() -> None:
    found = report_of(step=[0.1, 0.2, 0.1], run=[0.2, 0.2, 0.4], baseline=[0.4, 0.4, 0.3])
    assert found["ratios"]["step"] == pytest.approx({"best": 3.0, "median": 3.0})
    assert found["ratios"]["run"] == pytest.approx({"best": 1.5, "median": 2.0})
    assert report_of(step=[0.1], run=[0.1])["ratios"] == {}


def test_overhead_is_what_the_run_adds_to_the_step() -> None:
    found = report_of(step=[0.1, 0.1, 0.2], run=[0.11, 0.12, 0.2])["overhead"]
    assert found == pytest.approx({"every_step_best": 0.1, "every_step_median": 0.1, "checkpoint": 0.05})


def test_share_is_of_the_best_step_in_every_precision() -> None:
    found = report_of(step=[0.1, 0.2], run=[0.1, 0.2])
    assert found["share_of_matrix_product"] == pytest.approx({"fp32": 0.5, "bf16": 0.25})
    assert "50% of the fp32 matrix product (2 GFLOP/s); 25% of the bf16" in to_text(found)
    assert "peak memory: not known" in to_text(found)
