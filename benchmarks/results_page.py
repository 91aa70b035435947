"""What the programs share that keep tables of the results page: records, figures, a place."""

from __future__ import annotations

import json
import re
import statistics
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock

from ganzoo.storage.disk import write_text

PAGE = Path(__file__).parents[1] / "docs" / "pages" / "results.md"


Record = dict[str, Any]


def read_records(path: Path) -> list[Record]:
    """Return the records of a file of JSON lines; none where there is no file.

    Raises:
        SystemExit: a line is no record.
    """
    records = []
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for number, line in enumerate(lines, start=1):
        try:
            records.append(json.loads(line))
        except ValueError as error:
            sys.exit(f"{path}, line {number}: is no record ({error}): remove the line")
    return records


def note(path: Path, found: Iterable[Record], order: Sequence[str]) -> None:
    """Take records into the file, sorted by row and seed; one that is longer than another of its row and seed stays.

    Those of rows that `order` lacks come last. Several programs may note at once.
    """
    found = list(found)  # which may take long, while others write
    places = {name: place for place, name in enumerate(order)}
    with FileLock(f"{path}.lock"):
        known = {(each["row"], each["seed"]): each for each in read_records(path)}
        for each in found:
            key = (each["row"], each["seed"])
            if key not in known or known[key]["step"] <= each["step"]:
                known[key] = each
        sorted_records = sorted(
            known.values(), key=lambda each: (places.get(each["row"], len(places)), each["row"], each["seed"])
        )
        # Whole at any time: programs that read it do not wait.
        write_text(path, "".join(json.dumps(each) + "\n" for each in sorted_records))


def spread(values: Sequence[float], digits: int) -> str:
    """Return the mean, with its standard deviation where there are several."""
    deviation = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):,.{digits}f}{deviation}"


def replaced(page: str, name: str, table: str) -> str:
    """Return the page with the table of this name in its place, which is between two comments."""
    begin, end = f"<!-- {name} -->\n", f"\n<!-- end of {name} -->"
    return re.sub(f"{begin}.*?{end}", lambda _: begin + table + end, page, flags=re.DOTALL)
