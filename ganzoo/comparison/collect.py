"""Find the runs to compare, and read what a comparison needs of each, however damaged it is."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ganzoo.errors import RequestError, RunDirectoryError
from ganzoo.evaluation.evaluation_log import Evaluation, read_evaluations
from ganzoo.storage.run_directory import RunDirectory
from ganzoo.sweeps.directory import STATE, SweepDirectory, flatten

COMPLETE = ("complete", "imported")
"""Statuses of the runs whose figures count."""


@dataclass(eq=False)
class RunRecord:
    """One run, as read from its files.

    Attributes:
        path: the run directory; None for a run of a sweep that has none yet.
        name: `<run.name>/<number>`, or its name in the sweep.
        variant: name of its combination in its sweep; empty for a run outside a sweep.
        status: "complete", "imported", "interrupted", "failed", "waiting", or "unfinished" where its files do not say.
        recipe: its options by dotted path.
        notes: what could not be read.
    """

    path: Path | None
    name: str
    variant: str = ""
    seed: int | None = None
    status: str = "unfinished"
    error: str = ""
    recipe: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    evaluations: list[Evaluation] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def done(self) -> bool:
        """Whether the run is complete, so that its figures count."""
        return self.status in COMPLETE

    @property
    def steps(self) -> tuple[int, int]:
        """Steps trained and steps planned; 0 where unknown."""
        reached = number(self.summary.get("steps")) or max((row["step"] for row in self.rows), default=0)
        total = number(self.summary.get("total_steps")) or number(self.recipe.get("run.steps")) or 0
        return int(reached), int(total)

    @property
    def seconds(self) -> float | None:
        """Seconds spent in training."""
        return number(self.summary.get("seconds"))

    @property
    def images_per_second(self) -> float | None:
        """Median over the run."""
        rate = self.summary.get("images_per_second")
        return number(rate.get("median")) if isinstance(rate, Mapping) else None

    def series(self, name: str) -> dict[int, float]:
        """Return a metric by step."""
        return {row["step"]: value for row in self.rows if (value := number(row.get(name))) is not None}


def collect(places: Iterable[str | Path]) -> list[RunRecord]:
    """Return the runs at `places`: run directories, sweep directories and folders of runs; each run once.

    Raises:
        RequestError: there is no run at one of them.
    """
    records: dict[Path | str, RunRecord] = {}
    for place in places:
        for record in _at(Path(place)):
            records.setdefault(record.path.resolve() if record.path else f"{place}/{record.name}", record)
    if not records:
        raise RequestError("name at least one run directory, sweep or folder of runs")
    return list(records.values())


def clean(text: object) -> str:
    """Return text from a file without characters that could move the cursor, hide others or turn their direction."""
    return "".join(
        character if character == " " or unicodedata.category(character)[0] not in "CZ" else " "
        for character in str(text)
    )


def number(value: object) -> float | None:
    """Return a finite number from a file; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _at(place: Path) -> Iterator[RunRecord]:
    if (place / STATE).is_file():
        yield from _of_sweep(SweepDirectory.open(place))
        return
    if (place / "recipe.toml").is_file() or not place.is_dir():
        yield read_run(RunDirectory.open(place).path)
        return
    inside = sorted(path for path in place.iterdir() if (path / "recipe.toml").is_file())
    if not inside:
        raise RequestError(f"{place}: is no run, no sweep and no folder of runs, such as runs/dcgan-digits")
    yield from map(read_run, inside)


def _of_sweep(sweep: SweepDirectory) -> Iterator[RunRecord]:
    for member in sweep.members:
        run = sweep.find_run(member)
        if run is None:
            yield RunRecord(None, str(member), member.variant, member.seed, member.status, clean(member.error))
            continue
        record = read_run(run.path)
        record.variant = member.variant
        if record.status == "unfinished" and member.status == "failed":  # killed: its own files do not say so
            record.status, record.error = "failed", clean(member.error)
        yield record


def read_run(path: Path) -> RunRecord:
    """Read all that is compared of one run, and note what cannot be read."""
    directory = RunDirectory(path)
    record = RunRecord(path, clean(f"{path.resolve().parent.name}/{path.resolve().name}"))
    readers: dict[str, Callable[[], object]] = {
        "recipe": lambda: dict(flatten(directory.read_recipe())),
        "rows": directory.read_metrics,
        "evaluations": lambda: [each for each in read_evaluations(directory) if each.scores],
    }
    for name, read in readers.items():
        try:
            setattr(record, name, read())
        except (RunDirectoryError, OSError) as error:
            record.notes.append(clean(error))
    seed = record.recipe.get("run.seed")
    record.seed = seed if isinstance(seed, int) else None
    record.summary, record.environment = directory.read_json("summary.json"), directory.read_json("environment.json")
    status = record.summary.get("status")
    record.status = status if status in (*COMPLETE, "interrupted", "failed") else "unfinished"
    record.error = clean(record.summary.get("error", ""))
    return record
