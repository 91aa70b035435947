"""Group runs by recipe and compare scores taken under one protocol."""

from __future__ import annotations

import html
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ganzoo.comparison.runs import RunRecord, Variant, collect, group, options_that_differ, shown
from ganzoo.comparison.scores import Score, score_all
from ganzoo.comparison.targets import TargetRanking, rank_by_target, targets_of
from ganzoo.evaluation.protocol import check_places
from ganzoo.text import html_table, printable
from ganzoo.training.changed_environment import CODE, CORE, DATA, changes_on_the_way

MACHINE = ("device", "device_name", "precision", "threads", "torch")
"""Entries of `environment.json` that determine the speed of a run."""
NAMED = 3
"""Largest number of names in a title."""


@dataclass(frozen=True)
class Comparison:
    """A comparison of runs.

    Attributes:
        variants: the runs, grouped by recipe.
        differences: the options in which the recipes differ, each with its value in every variant.
        scores: with their spread over seeds.
        notes: caveats for the reader of the figures.
        target: the variants by the time to the target of their recipes; None where they have none, or several.
    """

    variants: Sequence[Variant]
    differences: Mapping[str, Sequence[Any]]
    scores: Sequence[Score]
    notes: Sequence[str]
    target: TargetRanking | None = None

    @property
    def title(self) -> str:
        """The components in which the recipes differ, else the options, else the variants' names."""
        keys = [key for key in self.differences if key.endswith(".name")] or list(self.differences)
        words = keys if 0 < len(keys) <= NAMED else [variant.name for variant in self.variants]
        if len(words) > NAMED:
            return f"{len(words)} variants"
        listed = f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else words[0]
        return f"Variants of {listed}" if words is keys else listed

    @property
    def runs(self) -> list[RunRecord]:
        """All runs, variant after variant."""
        return [run for variant in self.variants for run in variant.runs]

    def _repr_html_(self) -> str:
        """Return the variants, in what they differ and their scores as a table, for notebooks; then the notes."""
        runs = ("runs", *(variant.status for variant in self.variants))
        options = [(key, *map(shown, values)) for key, values in self.differences.items()]
        places = range(len(self.variants))
        scores = [(f"{score.name} {score.arrow}", *map(score.cell, places)) for score in self.scores]
        target = [] if self.target is None else [(self.target.name, *map(self.target.cell, places))]
        notes = "".join(f"<br>{html.escape(printable(note))}" for note in self.notes)
        return html_table(("", *(variant.name for variant in self.variants)), runs, *options, *target, *scores) + notes

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as a JSON object."""
        names = [variant.name for variant in self.variants]
        return {
            "variants": [
                {
                    "name": variant.name,
                    "status": variant.status,
                    "seeds": len(variant.complete),
                    "seconds": variant.seconds.to_dict(),
                    "images_per_second": variant.speed.to_dict(),
                    "runs": [
                        {
                            "run": run.name,
                            "path": str(run.path) if run.path else None,
                            "seed": run.seed,
                            "status": run.status,
                            "error": run.error or None,
                            "steps": run.steps[0],
                            "total_steps": run.steps[1],
                        }
                        for run in variant.runs
                    ],
                }
                for variant in self.variants
            ],
            "differences": {key: dict(zip(names, values, strict=True)) for key, values in self.differences.items()},
            "scores": [score.to_dict(names) for score in self.scores],
            "target": None if self.target is None else self.target.to_dict(names),
            "notes": list(self.notes),
        }


def compare(places: str | Path | Iterable[str | Path], *, ignoring: Collection[str] = ()) -> Comparison:
    """Compare runs, grouped by their recipe without its seed.

    Means and deviations are over the complete runs of a variant. Scores are ranked only where they were taken by
    one protocol.

    Args:
        places: run directories, sweep directories and folders of runs.
        ignoring: fields in which the protocol cards may differ, such as "samples.images".

    Raises:
        GanzooError: there is no run at one of them, or no protocol card has a field that `ignoring` names.
    """
    variants = group(collect([places] if isinstance(places, str | Path) else places))
    check_places(ignoring, (each.card for variant in variants for run in variant.runs for each in run.evaluations))
    scores = score_all(variants, ignoring)
    differences, ranking = options_that_differ(variants), rank_by_target(variants, scores)
    return Comparison(variants, differences, scores, _notes(variants), ranking)


def _notes(variants: Sequence[Variant]) -> list[str]:
    runs = [run for variant in variants for run in variant.runs]
    notes = [note for run in runs for note in run.notes]
    notes += [f"{run.name}: {change}" for run in runs for change in changes_on_the_way(run.environment)]
    for run in runs:
        if not run.done and run.path:
            reached, total = run.steps
            where = f" at step {reached} of {total}" if total else ""
            why = f": {run.error}" if run.error else ""
            notes.append(f"{run.name}: {run.status}{where}, and not in any mean{why}")
    failed = [run for run in runs if not run.path and run.status == "failed"]
    notes += [f"{run.name}: failed before it had a run directory: {run.error}" for run in failed]
    waiting = sum(not run.path and not run.notes for run in runs) - len(failed)
    if waiting:
        notes.append(f"{waiting} of {len(runs)} runs have not begun")
    seeds = {variant.name: len(variant.complete) for variant in variants}
    if len(set(seeds.values())) > 1:
        listed = ", ".join(f"{name} {count}" for name, count in seeds.items())
        notes.append(f"the variants have different numbers of complete runs: {listed}")
    if len(targets := targets_of(variants)) > 1:
        notes.append(f"not ranked by time, since they have different targets: {', '.join(map(printable, targets))}")
    if max(seeds.values()) == 1:
        notes.append("one seed each: differences may be chance")
    environments = [run.environment for run in runs]
    codes = [code for each in environments if isinstance(code := each.get(CODE), dict)]
    for what, facts, places in (
        ("speed compares different machines or settings", MACHINE, environments),
        ("the images are not the same", (DATA,), environments),
        ("the code of a plugin is not the same", {name for each in codes for name in each} - {CORE}, codes),
    ):
        for fact in sorted(facts):
            known = [each[fact] for each in places if each.get(fact) is not None]
            values = dict.fromkeys(
                printable(", ".join(map(str, each.values())) if isinstance(each, dict) else each) for each in known
            )
            if len(values) > 1:
                notes.append(f"{what}: {printable(fact)} is {' / '.join(values)}")
    return notes
