"""Group runs by recipe and compare scores taken under one protocol."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from ganzoo.comparison.collect import RunRecord, clean, collect
from ganzoo.comparison.model import Comparison
from ganzoo.comparison.scores import score_all
from ganzoo.comparison.variants import Variant, group, options_that_differ

MACHINE = ("device", "device_name", "precision", "threads", "torch")
"""Facts of `environment.json` that the speed of a run follows from."""
DATA = ("images", "pack")


def compare(places: str | Path | Iterable[str | Path], *, ignoring: Collection[str] = ()) -> Comparison:
    """Compare runs, grouped by their recipe without its seed.

    Means and deviations are over the complete runs of a variant. Scores are ranked only where they were taken by
    one protocol.

    Args:
        places: run directories, sweeps' directories and folders of runs.
        ignoring: places on the protocol cards in which they may differ, such as "samples.images".

    Raises:
        GanzooError: at one of them there is no run.
    """
    variants = group(collect([places] if isinstance(places, str | Path) else places))
    return Comparison(variants, options_that_differ(variants), score_all(variants, ignoring), _notes(variants))


def _notes(variants: Sequence[Variant]) -> list[str]:
    runs = [run for variant in variants for run in variant.runs]
    notes = [note for run in runs for note in run.notes]
    for run in runs:
        if not run.done and run.path:
            reached, total = run.steps
            where = f" at step {reached} of {total}" if total else ""
            notes.append(
                f"{run.name}: {run.status}{where}, and not in any mean" + (f": {run.error}" if run.error else "")
            )
    waiting = [run for run in runs if not run.path and run.status != "failed"]
    notes += [f"{run.name}: failed before it had a run directory: {run.error}" for run in runs if _never_began(run)]
    if waiting:
        notes.append(f"{len(waiting)} of {len(runs)} runs have not begun")
    seeds = {len(variant.complete) for variant in variants}
    if len(seeds) > 1:
        notes.append("the variants have different numbers of complete runs: " + _counts(variants))
    if seeds and max(seeds) == 1:
        notes.append("one seed each: differences may be chance")
    for facts, what in (
        (MACHINE, "speed compares different machines or settings"),
        (DATA, "the images are not the same"),
    ):
        for fact in facts:
            values = dict.fromkeys(
                clean(run.environment[fact]) for run in runs if run.environment.get(fact) is not None
            )
            if len(values) > 1:
                notes.append(f"{what}: {fact} is {' / '.join(values)}")
    return notes


def _never_began(run: RunRecord) -> bool:
    return run.path is None and run.status == "failed"


def _counts(variants: Sequence[Variant]) -> str:
    return ", ".join(f"{variant.name} {len(variant.complete)}" for variant in variants)
