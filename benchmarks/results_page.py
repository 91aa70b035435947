"""What the programs share that keep tables of the results page: records, the device of a run, figures, a place."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[1] / "docs" / "pages" / "results.md"


def read_records(path: Path) -> list[dict[str, Any]]:
    """Return the records of a file of JSON lines; none where there is no file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def device_of(run: Path) -> str:
    """Return what a run computed on: the GPU's name, or "cpu" or "mps"."""
    environment = json.loads((run / "environment.json").read_text(encoding="utf-8"))
    name: str = environment["device_name" if environment["device"].startswith("cuda") else "device"]
    return name


def spread(values: Sequence[float], digits: int) -> str:
    """Return the mean, with its standard deviation where there are several."""
    deviation = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):,.{digits}f}{deviation}"


def replaced(page: str, name: str, table: str) -> str:
    """Return the page with the table of this name in its place, which is between two comments."""
    begin, end = f"<!-- {name} -->\n", f"\n<!-- end of {name} -->"
    return re.sub(f"{begin}.*?{end}", lambda _: begin + table + end, page, flags=re.DOTALL)
