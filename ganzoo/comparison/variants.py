"""Group runs by their recipe without its seed, and find the options in which the groups differ."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ganzoo.comparison.collect import RunRecord, clean
from ganzoo.sweeps.grid import names

APART = (
    "run.seed",
    "run.name",
    "run.root",
    "observers.",
    "tracking.",
    "plugins.",
    "evaluation.",
    "samples.",
    "checkpoint.",
)
"""Options that do not affect training: a run's seed, name and place, and how it is tracked, scored and saved."""
FEW = 3
"""Largest number of options in a name."""


@dataclass
class Variant:
    """Runs of one recipe, of any number of seeds.

    Attributes:
        name: short and unique.
        recipe: its options by dotted path, without those in `APART`.
        runs: in the order of their seeds.
    """

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
        counts: dict[str, int] = {}
        for run in self.runs:
            counts[run.status] = counts.get(run.status, 0) + 1
        return ", ".join(f"{count} {status}" for status, count in counts.items())


@dataclass(frozen=True)
class Option:
    """An option in which recipes differ: its dotted path, and its value in each variant, None where not set."""

    key: str
    values: tuple[Any, ...]


def group(records: Iterable[RunRecord]) -> list[Variant]:
    """Group runs into variants, in the order of their first runs."""
    groups: dict[str, Variant] = {}
    waiting: list[RunRecord] = []
    for record in records:
        if not record.recipe:
            waiting.append(record)
            continue
        recipe = {key: value for key, value in record.recipe.items() if not key.startswith(APART)}
        key = json.dumps(recipe, sort_keys=True, default=str)
        groups.setdefault(key, Variant("", recipe)).runs.append(record)
    variants = list(groups.values())
    for record in waiting:  # not begun, or without a readable recipe
        (_of_sweep(variants, record) or _new(variants, record)).runs.append(record)
    for variant in variants:
        variant.runs.sort(key=lambda run: (run.seed is None, run.seed or 0, run.name))
    for variant, name in zip(variants, _names(variants), strict=True):
        variant.name = name
    return variants


def options_that_differ(variants: Sequence[Variant]) -> list[Option]:
    """Return the options that differ between variants; names of components first, as others follow from them."""
    readable = [variant for variant in variants if variant.recipe]
    keys = dict.fromkeys(key for variant in readable for key in variant.recipe)
    found = [
        Option(clean(key), tuple(variant.recipe.get(key) for variant in variants))
        for key in keys
        if any(variant.recipe.get(key) != readable[0].recipe.get(key) for variant in readable)
    ]
    return sorted(found, key=lambda option: not option.key.endswith(".name"))


def options_in_common(variants: Sequence[Variant]) -> dict[str, Any]:
    """Return the options that all variants share."""
    readable = [variant.recipe for variant in variants if variant.recipe]
    if not readable:
        return {}
    return {key: value for key, value in readable[0].items() if all(other.get(key) == value for other in readable)}


def shown(value: Any) -> str:
    """Format an option's value for display."""
    if value is None:
        return "—"
    return clean(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str))


def _of_sweep(variants: Sequence[Variant], record: RunRecord) -> Variant | None:
    found = [v for v in variants if record.variant and any(run.variant == record.variant for run in v.runs)]
    return found[0] if found else None


def _new(variants: list[Variant], record: RunRecord) -> Variant:
    variants.append(Variant("", {}))
    return variants[-1]


def _names(variants: Sequence[Variant]) -> list[str]:
    """Return the sweep's names of the variants, else the runs' names, else what differs."""
    swept = [clean(next((run.variant for run in variant.runs if run.variant), "")) for variant in variants]
    if all(swept) and len(set(swept)) == len(swept):
        return swept
    own = [clean(variant.runs[0].recipe.get("run.name", variant.runs[0].name)) for variant in variants]
    if len(set(own)) == len(own):
        return own
    options = options_that_differ(variants)
    if 0 < len(options) <= FEW and all(variant.recipe for variant in variants):
        choices = [
            {
                option.key: value if isinstance(value := option.values[index], int | float | dict) else shown(value)
                for option in options
            }
            for index in range(len(variants))
        ]
        return [clean(name) for name in names(choices, "all")]
    return [
        name if name not in own[:index] else f"{name} ({own[:index].count(name) + 1})" for index, name in enumerate(own)
    ]
