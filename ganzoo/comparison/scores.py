"""Best and last scores of the variants with their protocols, not ranked where these differ."""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ganzoo.comparison.runs import RunRecord, Variant, finite_number
from ganzoo.comparison.statistics import Spread, best_of
from ganzoo.components.metric import Direction
from ganzoo.evaluation.protocol import ANY, Card, differences
from ganzoo.storage.summary import SCORE
from ganzoo.text import printable, unused_name

REASONS = 2
"""Largest number of warnings of one score."""

Series = Mapping[int, float]
"""Score of one run by step; the mean where a step was scored several times."""


@dataclass(frozen=True)
class VariantScore:
    """A score of one variant: over its complete runs, at the last scored step and at the best step of each.

    `series` has the score of each run, incomplete ones included.
    """

    last: Spread
    best: Spread
    series: Mapping[RunRecord, Series]

    def to_dict(self) -> dict[str, Any]:
        """Return the score as a JSON object."""
        runs: dict[str, list[tuple[int, float]]] = {}
        for run, series in self.series.items():  # two places may both have a run of one name and number
            runs[unused_name(run.name, runs)] = sorted(series.items())
        return {"last": self.last.to_dict(), "best": self.best.to_dict(), "runs": runs}


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
        ideal: the value of samples like real images, where neither lower nor higher ones are better.
        best: index of the best variant by its last score; None without one.
        tied: indices of those not significantly different from it.
    """

    name: str
    direction: Direction
    variants: list[VariantScore]
    protocols: list[tuple[Card, list[str]]]
    refused: list[str]
    notes: list[str] = field(default_factory=list)
    ideal: float | None = None
    best: int | None = None
    tied: list[int] = field(default_factory=list)

    def text(self, spread: Spread) -> str:
        """Format one of its spreads, with the same number of digits for all variants, and two or more that count."""
        digits = [each.last.decimals for each in self.variants if any(each.last.values)]
        common = min(digits, default=None)  # zeros say nothing of how exact the others are
        return spread.text(None if common is None else max(common, spread.fewest_decimals))

    def mark(self, index: int) -> str:
        """Return the mark of a variant: ★ for the best, ≈ for those not told from it, ? without a ranking."""
        return "★" if index == self.best else "≈" if index in self.tied else "?" if self.refused else ""

    def cell(self, index: int) -> str:
        """Return the last score of a variant with its mark."""
        return f"{self.text(self.variants[index].last)} {self.mark(index)}".rstrip()

    @property
    def arrow(self) -> str:
        """An arrow to the better values, or to the value of samples like real images; "·" where none are better."""
        if self.ideal is not None:
            return f"→ {self.ideal:g}"
        return {"lower": "↓", "higher": "↑", "none": "·"}[self.direction]

    def to_dict(self, names: Sequence[str]) -> dict[str, Any]:
        """Return the score as a JSON object; `names` are those of the variants."""
        return {
            "name": self.name,
            "direction": self.direction,
            "ideal": self.ideal,
            "ranked": not self.refused,
            "refused": self.refused,
            "notes": self.notes,
            "best": None if self.best is None else names[self.best],
            "not_told_from_best": [names[index] for index in self.tied],
            "cards": [{"variants": named, "card": card.model_dump(mode="json")} for card, named in self.protocols],
            "variants": {name: each.to_dict() for name, each in zip(names, self.variants, strict=True)},
        }


@dataclass(eq=False)
class _Protocol:
    """Cards that are comparable, and the values by run and step scored under them."""

    cards: list[Card] = field(default_factory=list)
    values: dict[RunRecord, dict[int, list[float]]] = field(default_factory=dict)
    warnings: dict[RunRecord, list[str]] = field(default_factory=dict)

    @property
    def card(self) -> Card:
        """The first of them."""
        return self.cards[0]


def score_all(variants: Sequence[Variant], ignoring: Collection[str] = ()) -> list[Score]:
    """Return every score that any run has, in the order of first appearance.

    Of the protocols that all complete runs share, the one with the most samples is taken. Fields named in `ignoring`
    may differ.
    """
    runs = [run for variant in variants for run in variant.runs]
    carded = dict.fromkeys(name for run in runs for each in run.evaluations for name in each.scores)
    logged = dict.fromkeys(key for run in runs for row in run.rows for key in row if key.startswith(SCORE))
    bare = [name for key in logged if (name := key.removeprefix(SCORE)) not in carded]
    scores = [_with_cards(name, variants, runs, ignoring) for name in carded]
    refused = ["the runs carry no protocol card for it, so nobody can tell whether it was taken alike"]
    return scores + [
        _score(name, variants, {run: run.series(SCORE + name) for run in runs}, [], refused, []) for name in bare
    ]


def _with_cards(name: str, variants: Sequence[Variant], runs: Sequence[RunRecord], ignoring: Collection[str]) -> Score:
    protocols = _protocols(name, runs, ignoring)
    having = [run for run in runs if any(run in protocol.values for protocol in protocols)]
    counted = [run for run in having if run.done] or having
    common = [protocol for protocol in protocols if all(run in protocol.values for run in counted)]
    if common:
        chosen = max(common, key=lambda each: (each.card.samples.network == "generator", each.card.samples.images))
        used = dict.fromkeys(counted, chosen)
    else:  # each run is shown by the protocol of its last evaluation, and not ranked
        used = {}
        for run in counted:
            its = [protocol for protocol in protocols if run in protocol.values]
            used[run] = max(its, key=lambda each: (max(each.values[run]), each.card.samples.images))
    warnings = [text for run, protocol in used.items() for text in protocol.warnings[run]]
    shown = dict.fromkeys(used.values())
    for run in having:  # the curve of an incomplete one, where it has one of these protocols
        its = [protocol for protocol in shown if run in protocol.values]
        if its:
            used.setdefault(run, its[0])
    cards = [
        (each.card, [variant.name for variant in variants if any(used.get(run) is each for run in variant.runs)])
        for each in shown
    ]
    refused = [] if common else [printable(found) for found in differences([card for card, _ in cards], ignoring)]
    series = {
        run: {step: statistics.fmean(values) for step, values in sorted(protocol.values[run].items())}
        for run, protocol in used.items()
    }
    score = _score(name, variants, series, cards, refused, warnings)
    if common and len(protocols) > 1:
        score.notes.append(
            f"{len(protocols) - 1} more protocols were used by some runs; shown is the one they share, "
            f"of {chosen.card.samples.images:,} samples"
        )
    return score


def _protocols(name: str, runs: Sequence[RunRecord], ignoring: Collection[str]) -> list[_Protocol]:
    """Group the values of the score `name` by protocol; those of a card that matches several protocols are in each."""
    protocols: list[_Protocol] = []
    known: dict[str, list[_Protocol]] = {}
    taken = [(run, each) for run in runs for each in run.evaluations]
    for run, evaluation in sorted(taken, key=lambda each: each[1].card.samples.batch_norm == ANY):
        value = finite_number(evaluation.scores.get(name))
        if value is None:
            continue
        key = evaluation.card.model_dump_json(exclude={"run": True, "step": True, "samples": {"seed"}})
        if key not in known:
            alike = [each for each in protocols if not differences([*each.cards, evaluation.card], ignoring)]
            if not alike:
                protocols.append(_Protocol())
            known[key] = alike or protocols[-1:]
            for protocol in known[key]:
                protocol.cards.append(evaluation.card)
        for protocol in known[key]:
            protocol.values.setdefault(run, {}).setdefault(evaluation.step, []).append(value)
            protocol.warnings.setdefault(run, []).extend(filter(None, [evaluation.warnings.get(name)]))
    return protocols


def _score(
    name: str,
    variants: Sequence[Variant],
    series: Mapping[RunRecord, Series],
    cards: list[tuple[Card, list[str]]],
    refused: list[str],
    warnings: list[str],
) -> Score:
    evaluations = [each for variant in variants for run in variant.runs for each in run.evaluations]
    directions = [each.directions[name] for each in evaluations if name in each.directions]
    direction = directions[-1] if directions else "none"
    ideals = [finite_number(each.ideals[name]) for each in evaluations if name in each.ideals]
    ideal = ideals[-1] if ideals and direction == "none" else None
    reasons = list(dict.fromkeys(map(printable, warnings)))[:REASONS]
    score = Score(printable(name), direction, [], cards, refused, reasons, ideal)
    steps: set[int] = set()
    lost: list[str] = []
    ranked: list[Spread] = []
    for variant in variants:
        own = {run: series[run] for run in variant.runs if series.get(run)}
        without = [run for run in variant.complete if _ended_without(run, name, own.get(run, {}))]
        ended = [each for run, each in own.items() if run.done and run not in without]
        last = Spread.of(each[max(each)] for each in ended)
        best = last
        if direction != "none":
            ahead = min if direction == "lower" else max
            best = Spread.of(ahead(each.values()) for run, each in own.items() if run.done)
        score.variants.append(VariantScore(last, best, own))
        ranked.append(Spread(()) if without else last)
        lost += [run.name for run in without]
        steps |= {max(each) for each in ended}
    if not refused and direction != "none":
        score.best, score.tied = best_of(ranked, direction == "lower")
    if lost:
        told = f"the last score of {', '.join(lost)} is not finite: it is in no mean, and the variant is not ranked"
        score.notes.append(told)
    if len(steps) > 1:
        score.notes.append(f"last scores are of different steps: {', '.join(map(str, sorted(steps)))}")
    return score


def _ended_without(run: RunRecord, name: str, series: Series) -> bool:
    """Return whether the last value of the score `name` is not finite, and so not in `series`."""
    wrong = [each.step for each in run.evaluations if name in each.scores and not math.isfinite(each.scores[name])]
    return max(wrong, default=-1) >= max(series, default=0)
