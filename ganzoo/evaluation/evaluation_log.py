"""The evaluation log, `evaluation.json`: the evaluations of a run, each with its step, scores and protocol card."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

from filelock import FileLock
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from ganzoo.components.metric import Direction
from ganzoo.errors import OutputError, RunDirectoryError, first_line
from ganzoo.evaluation.protocol import Card
from ganzoo.storage.disk import output_errors, write_text
from ganzoo.storage.run_directory import EVALUATIONS, RunDirectory
from ganzoo.terminal import warn
from ganzoo.text import html_table, number, parse_json, to_json
from ganzoo.untrusted import read_text

DAMAGED = "evaluation.damaged.json"
LOCK = ".evaluation.lock"


class Evaluation(BaseModel):
    """Scores of the samples of one step by one extractor, with their protocol card."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    step: int
    """Step of the weights that made the samples."""
    scores: dict[str, Annotated[float, BeforeValidator(lambda value: math.nan if value is None else value)]]
    """Scores by name; each name includes its extractor, such as "fd_classifier"."""
    directions: dict[str, Direction] = Field(default_factory=dict)
    """Which values of each score are better, as its metric says."""
    ideals: dict[str, float] = Field(default_factory=dict)
    """Value of scores that are best neither low nor high, for samples like the real images."""
    warnings: dict[str, str] = Field(default_factory=dict)
    """Why a score is not reliable, such as too few samples."""
    card: Card
    """Protocol card of the scores."""
    details: dict[str, Any] = Field(default_factory=dict)
    """Findings beside the scores: samples of each class, the verdict on memorization."""
    timings: dict[str, float] = Field(default_factory=dict)
    """Seconds of each part of the evaluation."""

    def with_those_of(self, earlier: Evaluation) -> Evaluation:
        """Return this evaluation with the scores that an earlier one under the same card has beside its own."""
        parts = ("scores", "directions", "ideals", "warnings", "details", "timings")
        kept = {part: {**getattr(earlier, part)} for part in parts}
        for name in self.scores.keys() & kept["warnings"].keys():  # may be reliable now
            del kept["warnings"][name]
        return self.model_copy(update={part: kept[part] | getattr(self, part) for part in parts})


@dataclass(frozen=True)
class Evaluated:
    """Evaluations of one step for one or more seeds; `evaluations` has a list for each seed, one entry an extractor."""

    evaluations: list[list[Evaluation]]

    @property
    def scores(self) -> dict[str, float]:
        """Mean of each score over the seeds."""
        return {name: statistics.fmean(values) for name, values in self._values().items()}

    @property
    def deviations(self) -> dict[str, float]:
        """Standard deviation of each score over the seeds; empty for a single seed."""
        if len(self.evaluations) < 2:
            return {}
        return {
            name: statistics.stdev(values) if all(map(math.isfinite, values)) else math.nan
            for name, values in self._values().items()
        }

    @property
    def warnings(self) -> list[str]:
        """Why scores are not reliable, each reason after the names of its scores."""
        reasons: dict[str, dict[str, None]] = {}
        for evaluation in self.evaluations[0]:
            for name, reason in evaluation.warnings.items():
                reasons.setdefault(reason, {})[name] = None
        return [f"{', '.join(names)}: {reason}" for reason, names in reasons.items()]

    def _repr_html_(self) -> str:
        """Return the scores as a table, for notebooks."""
        rows = [(name, number(value)) for name, value in self.scores.items()]
        if deviations := self.deviations:
            rows = [(name, f"{value} ± {number(deviations[name])}") for name, value in rows]
        return html_table(("score", "mean ± deviation" if deviations else "value"), *rows)

    def _values(self) -> dict[str, list[float]]:
        """Return the values of each score that every seed has."""
        merged = [all_scores(each) for each in self.evaluations]
        return {name: [each[name] for each in merged] for name in merged[0] if all(name in each for each in merged)}


def all_scores(evaluations: Iterable[Evaluation]) -> dict[str, float]:
    """Merge the scores of all extractors."""
    return {name: value for evaluation in evaluations for name, value in evaluation.scores.items()}


def read_evaluations(directory: RunDirectory) -> list[Evaluation]:
    """Return all evaluations of a run, oldest step first; none before the first one.

    Raises:
        RunDirectoryError: the file is damaged.
    """
    path = directory.path / EVALUATIONS
    try:
        content = parse_json(read_text(path))
        if not isinstance(content, list):
            raise RunDirectoryError(f"{path}: is not of this version of ganzoo: remove it and evaluate the run again")
        return [Evaluation.model_validate(each) for each in content]
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise RunDirectoryError(
            f"{path}: cannot be read: {first_line(error)}; remove it and evaluate the run again"
        ) from error


def add_evaluations(directory: RunDirectory, new: Iterable[Evaluation]) -> None:
    """Add evaluations to the log; a score of the same step and card replaces the earlier one.

    Those of metrics that were not computed anew stay. A damaged log is set aside.

    Raises:
        OutputError: they cannot be written.
    """
    with _log_to_change(directory) as evaluations:
        kept = {_key(each): each for each in evaluations}
        for each in new:
            earlier = kept.get(_key(each))
            kept[_key(each)] = each if earlier is None else each.with_those_of(earlier)
        write_text(directory.path / EVALUATIONS, json_of(kept.values()))


def cut_evaluations_after(directory: RunDirectory, step: int) -> None:
    """Drop evaluations of later steps, which a resumed run repeats."""
    if not (directory.path / EVALUATIONS).exists():
        return
    with _log_to_change(directory) as evaluations:
        if any(each.step > step for each in evaluations):
            write_text(directory.path / EVALUATIONS, json_of(each for each in evaluations if each.step <= step))


def json_of(evaluations: Iterable[Evaluation]) -> str:
    """Return the text of a log, oldest step first."""
    ordered = sorted(evaluations, key=lambda each: each.step)
    return to_json([each.model_dump(mode="json") for each in ordered]) + "\n"


@contextmanager
def _log_to_change(directory: RunDirectory) -> Iterator[list[Evaluation]]:
    """Yield all evaluations while no other process changes them; none, with a warning, where the log is damaged."""
    path = directory.path / EVALUATIONS
    directory.check_there(OutputError)  # the lock would make it
    with output_errors(path), FileLock(directory.path / LOCK):
        try:
            evaluations = read_evaluations(directory)
        except RunDirectoryError:
            aside = path.with_name(DAMAGED)
            path.replace(aside)
            warn(f"{path}: is damaged; it is kept as {aside.name}, and the scores begin anew")
            evaluations = []
        yield evaluations


def _key(evaluation: Evaluation) -> str:
    noted = {"run", "device", "versions"}  # differ for the same images
    return evaluation.card.model_dump_json(exclude=noted)
