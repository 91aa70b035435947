"""A tracker for spreadsheets."""

from __future__ import annotations

import csv
from typing import Any

from ganzoo.plugin import RunView, Tracker, hookimpl
from ganzoo_analysis.configs import CSVConfig


class CSVTracker(Tracker):
    """Writes the rows of `metrics.jsonl`, those of a step joined, with a column for each figure."""

    Config = CSVConfig

    @hookimpl
    def run_ended(self, run: RunView) -> None:
        """Write the file, with the earlier parts of a resumed run."""
        rows: dict[int, dict[str, Any]] = {}
        for row in run.directory.read_metrics():
            rows.setdefault(row["step"], {}).update(row)
        columns = dict.fromkeys(name for row in rows.values() for name in row)
        with (run.directory.path / "metrics.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows.values())
