"""Find the runs to compare, read them, however damaged they are, and group them by recipe."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ganzoo.comparison.statistics import Spread
from ganzoo.errors import RequestError, RunDirectoryError
from ganzoo.evaluation.evaluation_log import Evaluation, read_evaluations
from ganzoo.recipe.overrides import flatten
from ganzoo.storage.manifest import EXPORT
from ganzoo.storage.run_directory import RunDirectory
from ganzoo.sweeps.directory import STATE, SweepDirectory
from ganzoo.sweeps.plan import names
from ganzoo.text import printable
from ganzoo.training.changed_environment import APART

COMPLETE = ("complete", "reached", "imported", "exported")
"""Statuses of the runs whose figures count."""
LARGEST = 1e150
FEW = 3
"""Largest number of options in a name."""


@dataclass(eq=False)
class RunRecord:
    """One run, as read from its files.

    Attributes:
        path: the run directory; None for a run of a sweep that has none yet.
        name: `<run.name>/<number>`, or its name in the sweep.
        variant: name of its combination in its sweep; empty for a run outside a sweep.
        sweep: the sweep's folder.
        status: "complete", "reached", "imported", "exported", "interrupted", "failed", "waiting", or "unfinished" where
            its files do not say.
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
    sweep: Path | None = None

    @property
    def done(self) -> bool:
        """Whether the run is complete, so that its figures count."""
        return self.status in COMPLETE

    @property
    def steps(self) -> tuple[int, int]:
        """Steps trained and steps planned; 0 where unknown."""
        reached = finite_number(self.summary.get("steps")) or max((row["step"] for row in self.rows), default=0)
        total = finite_number(self.summary.get("total_steps")) or finite_number(self.recipe.get("run.steps")) or 0
        return int(reached), int(total)

    @property
    def seconds(self) -> float | None:
        """Seconds of training."""
        return finite_number(self.summary.get("seconds"))

    @property
    def images_per_second(self) -> float | None:
        """Median over the run."""
        rate = self.summary.get("images_per_second")
        return finite_number(rate.get("median")) if isinstance(rate, Mapping) else None

    def series(self, name: str) -> dict[int, float]:
        """Return a metric by step."""
        return {row["step"]: value for row in self.rows if (value := finite_number(row.get(name))) is not None}


@dataclass
class Variant:
    """Runs of one recipe, in the order of their seeds; `recipe` has its options without those in `APART`."""

    name: str
    recipe: dict[str, Any]
    runs: list[RunRecord] = field(default_factory=list)

    @property
    def complete(self) -> list[RunRecord]:
        """The complete runs, whose figures count."""
        return [run for run in self.runs if run.done]

    @property
    def status(self) -> str:
        """Number of its runs by status: "3 complete", "2 complete, 1 failed"."""
        counts = Counter(run.status for run in self.runs)
        return ", ".join(f"{count} {status}" for status, count in counts.items())

    @property
    def seconds(self) -> Spread:
        """Training time over the complete runs."""
        return Spread.of(run.seconds for run in self.complete)

    @property
    def speed(self) -> Spread:
        """Images per second over the complete runs."""
        return Spread.of(run.images_per_second for run in self.complete)


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


def finite_number(value: object) -> float | None:
    """Return a finite number from a file, between those whose squares are finite; None for anything else."""
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max:
        return max(-LARGEST, min(LARGEST, float(value))) if abs(value) >= 1 / LARGEST else 0.0
    return None


def _at(place: Path) -> Iterator[RunRecord]:
    if (place / STATE).is_file():
        yield from _of_sweep(SweepDirectory.open(place))
        return
    if (place / "recipe.toml").is_file() or not place.is_dir():
        yield read_run(RunDirectory.open(place).path)
        return
    inside = sorted(path for path in place.iterdir() if _may_be_run(path))
    inside = [path for path in inside if not RunDirectory(path).read_json(EXPORT)] or inside  # runs come before exports
    if not inside:
        raise RequestError(f"{place}: is no run, no sweep and no folder of runs, such as runs/dcgan-digits")
    for path in inside:
        try:
            if path.is_symlink() and not path.resolve().is_relative_to(place.resolve()):
                raise RunDirectoryError(f"{path}: is a link that leads out of {place}: name the run itself")
            yield read_run(RunDirectory.open(path).path)
        except RunDirectoryError as error:
            yield RunRecord(None, printable(path.name), notes=[_on_one_line(error)])


def _may_be_run(path: Path) -> bool:
    """Return whether this is a run directory, or cannot be looked into."""
    try:
        return (path / "recipe.toml").is_file()
    except OSError:
        return True


def _of_sweep(sweep: SweepDirectory) -> Iterator[RunRecord]:
    for member in sweep.runs:
        run = sweep.find_run(member)
        if run is None:
            error = _on_one_line(member.error)
            yield RunRecord(None, str(member), member.variant, member.seed, member.status, error, sweep=sweep.path)
            continue
        record = read_run(run.path)
        record.variant, record.sweep = member.variant, sweep.path
        if record.status == "unfinished" and member.status == "failed":  # killed: its own files do not say so
            record.status, record.error = "failed", _on_one_line(member.error)
        yield record


def read_run(path: Path) -> RunRecord:
    """Read all that is compared of one run, and note what cannot be read."""
    directory = RunDirectory(path)
    record = RunRecord(path, printable(f"{path.resolve().parent.name}/{path.resolve().name}"))
    readers: dict[str, Callable[[], object]] = {
        "recipe": lambda: dict(flatten(directory.read_recipe())),
        "rows": directory.read_metrics,
        "evaluations": lambda: [each for each in read_evaluations(directory) if each.scores],
    }
    for name, read in readers.items():
        try:
            setattr(record, name, read())
        except (RunDirectoryError, OSError) as error:
            record.notes.append(_on_one_line(error))
    seed = record.recipe.get("run.seed")
    record.seed = seed if isinstance(seed, int) else None
    record.summary, record.environment = directory.read_json("summary.json"), directory.read_json("environment.json")
    if export := directory.read_json(EXPORT):
        record.summary = {"status": "exported", "steps": export.get("step")}
    status = record.summary.get("status")
    record.status = status if status in (*COMPLETE, "interrupted", "failed") else "unfinished"
    record.error = _on_one_line(record.summary.get("error", ""))
    return record


def group(records: Iterable[RunRecord]) -> list[Variant]:
    """Group runs into variants, in the order of their first runs."""
    groups: dict[str, Variant] = {}
    swept: dict[tuple[Path | None, str], str] = {}
    for record in sorted(records, key=lambda record: not record.recipe):
        recipe = {key: value for key, value in record.recipe.items() if not key.startswith(APART)}
        key = json.dumps(recipe, sort_keys=True, default=str)
        if not record.recipe:  # not begun, or without a readable recipe
            key = swept.get((record.sweep, record.variant), str(len(groups)))
        if record.variant:
            swept.setdefault((record.sweep, record.variant), key)
        groups.setdefault(key, Variant("", recipe)).runs.append(record)
    variants = list(groups.values())
    for variant in variants:
        variant.runs.sort(key=lambda run: (run.seed is None, run.seed or 0, run.name))
    for variant, name in zip(variants, _names(variants), strict=True):
        variant.name = name
    return variants


def options_that_differ(variants: Sequence[Variant]) -> dict[str, tuple[Any, ...]]:
    """Return the options that differ between variants, each with its value in all of them, None where it is not set.

    Names of components come first, as others follow from them.
    """
    readable = [variant.recipe for variant in variants if variant.recipe]
    keys = [
        key
        for key in dict.fromkeys(key for recipe in readable for key in recipe)
        if any(recipe.get(key) != readable[0].get(key) for recipe in readable)
    ]
    return {
        printable(key): tuple(variant.recipe.get(key) for variant in variants)
        for key in sorted(keys, key=lambda key: not key.endswith(".name"))
    }


def options_in_common(variants: Sequence[Variant]) -> dict[str, Any]:
    """Return the options that all variants share."""
    readable = [variant.recipe for variant in variants if variant.recipe] or [{}]
    return {key: value for key, value in readable[0].items() if all(other.get(key) == value for other in readable)}


def shown(value: Any) -> str:
    """Format an option's value for display."""
    if value is None:
        return "—"
    return printable(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str))


def _on_one_line(text: object) -> str:
    return printable(" ".join(str(text).split()))


def _names(variants: Sequence[Variant]) -> list[str]:
    """Return the sweep's names of the variants, else the runs' names, else what differs."""
    swept = [printable(next((run.variant for run in variant.runs if run.variant), "")) for variant in variants]
    firsts = [next((run for run in variant.runs if run.recipe), variant.runs[0]) for variant in variants]
    own = [printable(run.recipe.get("run.name", run.name)) for run in firsts]
    for found in (swept, own):
        if all(found) and len(set(found)) == len(found):
            return found
    options = options_that_differ(variants)
    if 0 < len(options) <= FEW and all(variant.recipe for variant in variants):
        choices = [
            {
                key: value if isinstance(value := values[index], int | float | dict) else shown(value)
                for key, values in options.items()
            }
            for index in range(len(variants))
        ]
        named = [*names(choices, "all")]
        if len(named) == len(variants):  # values that read alike have one name
            return named
    return [
        name if name not in own[:index] else f"{name} ({own[:index].count(name) + 1})" for index, name in enumerate(own)
    ]
