"""Run the attacks of `attacks.csv`: what is done, what must be true, the test that does it, whether it once failed.

    python tests/reliability/attacks.py            # all of them, and a table by kind
    python tests/reliability/attacks.py --fast     # without those marked slow
    python tests/reliability/attacks.py secrets    # rows of one kind, or with this word
    python tests/reliability/attacks.py --list     # the rows, without running them

Run it in the root of the repository. Each test is an ordinary one below `tests` or in a plugin, and runs
with all others too.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
TABLE = Path(__file__).with_name("attacks.csv")
COLUMNS = ("rows", "fixed", "cases", "held", "skipped")


class Outcomes:
    """Counts the cases of each test, as a plugin of pytest."""

    def __init__(self) -> None:
        self.cases: dict[str, Counter[str]] = defaultdict(Counter)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or not report.passed:
            place = report.nodeid.partition("[")[0].removeprefix("tests/")
            self.cases[place][report.outcome] += 1


def read() -> list[dict[str, str]]:
    """Return the rows."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def path(row: dict[str, str]) -> Path:
    """Return where the test of a row is: below `tests`, or in a plugin."""
    return (TESTS.parent if row["test"].startswith("plugins/") else TESTS) / row["test"]


def table(rows: list[dict[str, str]], cases: dict[str, Counter[str]]) -> str:
    """Count by kind: rows, those in which something did not hold at first, cases, those that hold or were skipped."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        found = cases.get(row["test"], Counter())
        figures = Counter(rows=1, fixed=int(row["fixed"] == "yes"), cases=found.total(), held=found["passed"])
        for kind in (row["kind"], "all"):
            counts[kind].update(figures | Counter(skipped=found["skipped"]))
    ordered = [*dict.fromkeys(row["kind"] for row in rows), "all"]
    lines = [f"{'kind':<32}" + "".join(f"{column:>9}" for column in COLUMNS)]
    lines += [f"{kind:<32}" + "".join(f"{counts[kind][column]:>9}" for column in COLUMNS) for kind in ordered]
    return "\n".join(lines)


def main() -> int:
    """Run the attacks that the arguments choose, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="only rows with all of these words")
    parser.add_argument("--fast", action="store_true", help="leave out slow tests")
    parser.add_argument("--list", action="store_true", help="print the rows and run nothing")
    options = parser.parse_args()
    rows = [row for row in read() if all(word in " ".join(row.values()) for word in options.words)]
    if options.list or not rows:
        for row in rows:
            print(f"{row['kind']}: {row['done']} → {row['holds']}  [{row['test']}]")
        return 0
    outcomes = Outcomes()
    places = [str(path(row)) for row in rows]
    arguments = ["-q", "-p", "no:cacheprovider", "--rootdir", str(TESTS.parent)]
    code = pytest.main([*arguments, *(["-m", "not slow"] if options.fast else []), *places], plugins=[outcomes])
    print(table(rows, outcomes.cases))
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
