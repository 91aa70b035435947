"""What metrics give on one source of features, and under which names."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch

from ganzoo.components.extractor import Extractor
from ganzoo.components.metric import Direction, Metric, MetricInputs, score_name
from ganzoo.errors import PluginError


@dataclass
class Results:
    """What the metrics of one extractor, or of the pixels, gave; timings are seconds of each metric."""

    scores: dict[str, float] = field(default_factory=dict)
    directions: dict[str, Direction] = field(default_factory=dict)
    ideals: dict[str, float] = field(default_factory=dict)
    warnings: dict[str, str] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, int | float | str] = field(default_factory=dict)
    timings: dict[str, float] = field(default_factory=dict)


def compute(metrics: Sequence[Metric], inputs: Sequence[MetricInputs], extractor: Extractor | None = None) -> Results:
    """Compute every metric on what it needs, each from the same seed, so that none depends on the others.

    Args:
        metrics: to compute.
        inputs: what there is to compute them on.
        extractor: whose features these are; None: the samples themselves.

    Raises:
        PluginError: a metric gives no numbers by name, one without a direction, or details that are no JSON.
    """
    results = Results()
    if extractor is not None:
        results.details.update({f"extractor_{name}": value for name, value in extractor.notes().items()})
    for metric in metrics:
        own = metric.config.name
        for given in inputs:
            if given.source not in metric.needs:
                continue
            torch.manual_seed(0)
            start = time.perf_counter()
            values = metric.compute(given)
            results.timings[own] = results.timings.get(own, 0.0) + time.perf_counter() - start
            caveat = metric.caveat(given)
            for value, score in _numbers(values, own).items():
                if value not in metric.directions:
                    raise PluginError(
                        f'the metric "{own}" gives "{value}", which its `directions` does not have: add it there'
                    )
                name = value if extractor is None else score_name(value, given.source, extractor.label, extractor)
                results.scores[name], results.directions[name] = score, metric.directions[value]
                if value in metric.ideals:
                    results.ideals[name] = metric.ideals[value]
                if caveat:
                    results.warnings[name] = caveat
            results.settings |= {f"{own}_{key}": value for key, value in metric.settings(given).items()}
            results.details |= _plain(given.details, own)
    return results


def _numbers(values: Any, metric: str) -> dict[str, float]:
    """Return what `compute` of a metric gives, checked to be numbers by name."""
    try:
        return {name: float(value) for name, value in dict(values).items()}
    except (TypeError, ValueError, OverflowError) as error:
        told = f'the metric "{metric}" gives {values!r:.200}'
        raise PluginError(f"{told}: return a number by the name of each value, or {{}} without one") from error


def _plain(details: dict[str, Any], metric: str) -> dict[str, Any]:
    """Return the details that a metric gives, checked to be what a JSON file holds."""
    try:
        return cast("dict[str, Any]", json.loads(json.dumps(details)))
    except TypeError as error:
        raise PluginError(
            f'the metric "{metric}" puts into `details` what no JSON file holds ({error}): give numbers, text and '
            f"lists of them, such as `tensor.tolist()`"
        ) from error
