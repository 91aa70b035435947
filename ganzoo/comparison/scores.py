"""Best and last scores of the variants with their protocols, not ranked where these differ."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ganzoo.comparison.collect import RunRecord, clean, number
from ganzoo.comparison.statistics import Spread, best_of, decimals
from ganzoo.comparison.variants import Variant
from ganzoo.components.metric import Direction
from ganzoo.evaluation.protocol import Card, differences
from ganzoo.storage.summary import SCORE

Series = dict[int, float]
"""Score of one run by step; the mean where a step was scored several times."""


@dataclass(frozen=True)
class VariantScore:
    """A score of one variant.

    Attributes:
        last: over its complete runs, at the last step that was scored.
        best: over its complete runs, at the best step of each.
        series: by name of the run, incomplete runs included.
        last_steps: steps at which `last` was taken.
    """

    last: Spread | None
    best: Spread | None
    series: Mapping[str, Series]
    last_steps: tuple[int, ...]


@dataclass
class Score:
    """One score over all variants.

    Attributes:
        name: includes the extractor.
        direction: which values are better, as its metric says; "none" where the runs do not know.
        variants: one for each, in order.
        protocols: cards, each with the variants scored under it; several where they cannot be compared.
        refused: why it is not ranked; empty where it is.
        notes: caveats.
        best: index of the best variant by its last score; None without one.
        tied: indices of those not significantly worse.
    """

    name: str
    direction: Direction
    variants: list[VariantScore]
    protocols: list[tuple[Card, list[str]]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    best: int | None = None
    tied: list[int] = field(default_factory=list)

    def text(self, spread: Spread | None) -> str:
        """Format one of its spreads, with the same number of digits for all variants."""
        known = [each.last for each in self.variants if each.last is not None and any(each.last.values)]
        digits = [decimals(each) for each in known]  # zeros say nothing of how exact the others are
        return "—" if spread is None else spread.text(min(digits, default=None))

    @property
    def arrow(self) -> str:
        """An arrow to the better values."""
        return {"lower": "↓", "higher": "↑", "none": ""}[self.direction]

    @property
    def ranked(self) -> bool:
        """Whether its values may be compared."""
        return not self.refused


@dataclass
class _Protocol:
    """A card, and the values by run and step scored under it or cards comparable with it."""

    card: Card
    series: dict[int, dict[int, list[float]]] = field(default_factory=dict)


def score_all(variants: Sequence[Variant], ignoring: Collection[str] = ()) -> list[Score]:
    """Return every score that any run has, in the order of first appearance.

    Of the protocols that all runs share, the one with the most samples is taken.

    Args:
        variants: with their runs.
        ignoring: fields in which the cards may differ, such as "samples.images".
    """
    runs = [run for variant in variants for run in variant.runs]
    carded = dict.fromkeys(name for run in runs for each in run.evaluations for name in each.scores)
    bare = dict.fromkeys(
        key.removeprefix(SCORE) for run in runs for row in run.rows for key in row if key.startswith(SCORE)
    )
    scores = [_with_cards(name, variants, ignoring) for name in carded]
    return scores + [_without_cards(name, variants) for name in bare if name not in carded]


def _with_cards(name: str, variants: Sequence[Variant], ignoring: Collection[str]) -> Score:
    protocols = _protocols(name, variants, ignoring)
    having = sorted({index for protocol in protocols for index in protocol.series})
    common = [protocol for protocol in protocols if all(index in protocol.series for index in having)]
    if common:
        chosen = max(common, key=lambda protocol: protocol.card.samples.images)
        score = _score(name, variants, {run: _means(steps) for run, steps in chosen.series.items()})
        score.protocols = [(chosen.card, _scored(chosen.series, variants))]
        if len(protocols) > 1:
            score.notes.append(
                f"{len(protocols) - 1} more protocols were used by some runs; shown is the one they share, "
                f"of {chosen.card.samples.images:,} samples"
            )
        return score
    # Without a shared protocol, each run is shown by that of its last evaluation, and not ranked.
    series: dict[int, Series] = {}
    used: dict[int, list[int]] = {}
    for index in having:
        own = [place for place, protocol in enumerate(protocols) if index in protocol.series]
        latest = max(own, key=lambda place: _latest(protocols[place], index))
        series[index] = _means(protocols[latest].series[index])
        used.setdefault(latest, []).append(index)
    score = _score(name, variants, series)
    score.protocols = [(protocols[place].card, _scored(places, variants)) for place, places in used.items()]
    score.best, score.tied = None, []
    score.refused = [clean(found) for found in differences([card for card, _ in score.protocols], ignoring)]
    return score


def _latest(protocol: _Protocol, run: int) -> tuple[int, int]:
    """Return the sort key of a run's protocols: last scored step, then number of samples."""
    return max(protocol.series[run]), protocol.card.samples.images


def _without_cards(name: str, variants: Sequence[Variant]) -> Score:
    series: dict[int, Series] = {}
    for index, run in enumerate(_all(variants)):
        found = {int(row["step"]): value for row in run.rows if (value := number(row.get(SCORE + name))) is not None}
        if found:
            series[index] = found
    score = _score(name, variants, series)
    score.best, score.tied = None, []
    score.refused = ["the runs carry no protocol card for it, so nobody can tell whether it was taken alike"]
    return score


def _protocols(name: str, variants: Sequence[Variant], ignoring: Collection[str]) -> list[_Protocol]:
    """Group the values of the score `name` by protocol."""
    protocols: list[_Protocol] = []
    known: dict[str, _Protocol] = {}
    for index, run in enumerate(_all(variants)):
        for evaluation in run.evaluations:
            value = number(evaluation.scores.get(name))
            if value is None:
                continue
            key = evaluation.card.model_dump_json(exclude={"run": True, "step": True, "samples": {"seed"}})
            if key not in known:
                alike = [p for p in protocols if not differences([p.card, evaluation.card], ignoring)]
                if not alike:
                    protocols.append(_Protocol(evaluation.card))
                known[key] = alike[0] if alike else protocols[-1]
            known[key].series.setdefault(index, {}).setdefault(evaluation.step, []).append(value)
    return protocols


def _score(name: str, variants: Sequence[Variant], series: Mapping[int, Series]) -> Score:
    direction: Direction = "none"
    for run in _all(variants):
        for evaluation in run.evaluations:
            direction = evaluation.directions.get(name, direction)
    best = {"lower": min, "higher": max}.get(direction)
    found: list[VariantScore] = []
    index = 0
    for variant in variants:
        own = [(run, series.get(index + place, {})) for place, run in enumerate(variant.runs)]
        index += len(variant.runs)
        counted = [each for run, each in own if run.done and each]
        found.append(
            VariantScore(
                last=Spread.of(each[max(each)] for each in counted),
                best=Spread.of(best(each.values()) for each in counted) if best is not None else None,
                series={run.name: each for run, each in own if each},
                last_steps=tuple(sorted({max(each) for each in counted})),
            )
        )
    score = Score(clean(name), direction, found)
    if direction != "none":
        score.best, score.tied = best_of([each.last for each in found], direction == "lower")
    steps = sorted({step for each in found for step in each.last_steps})
    if len(steps) > 1:
        score.notes.append(f"last scores are of different steps: {', '.join(map(str, steps))}")
    return score


def _all(variants: Sequence[Variant]) -> list[RunRecord]:
    return [run for variant in variants for run in variant.runs]


def _scored(runs: Collection[int], variants: Sequence[Variant]) -> list[str]:
    """Return the names of the variants that have one of these runs."""
    owners = [variant.name for variant in variants for _ in variant.runs]
    return list(dict.fromkeys(owners[index] for index in sorted(runs)))


def _means(steps: Mapping[int, Sequence[float]]) -> Series:
    return {step: sum(values) / len(values) for step, values in sorted(steps.items())}


def to_dict(score: Score, variants: Sequence[Variant]) -> dict[str, Any]:
    """Return a score as a JSON object."""
    return {
        "name": score.name,
        "direction": score.direction,
        "ranked": score.ranked,
        "refused": score.refused,
        "notes": score.notes,
        "best": None if score.best is None else variants[score.best].name,
        "not_told_from_best": [variants[index].name for index in score.tied],
        "cards": [{"variants": named, "card": card.model_dump(mode="json")} for card, named in score.protocols],
        "variants": {
            variant.name: {
                "last": each.last.to_dict() if each.last else None,
                "best": each.best.to_dict() if each.best else None,
                "runs": {name: sorted(series.items()) for name, series in each.series.items()},
            }
            for variant, each in zip(variants, score.variants, strict=True)
        },
    }
