"""What trackers say of a run beside its recipe."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ganzoo.plugin import RunView

SCORE = "score/"
"""Prefix of the scores among the metrics."""


def facts(run: RunView) -> dict[str, Any]:
    """Return what a run is run with: device, data, sizes of the networks, versions of the plugins."""
    sizes = {role: sum(each.numel() for each in run.networks[role].parameters()) for role in run.recipe.trainer.roles}
    return {
        "device": str(run.device),
        "precision": run.precision,
        "image": list(run.info.samples.shape),
        "classes": len(run.info.class_names),
        "images": len(run.dataset),
        **{f"{role}_parameters": size for role, size in sizes.items()},
        "plugins": dict(run.plugin_versions),
    }


def finite(figures: Mapping[str, float], prefix: str = "") -> dict[str, float]:
    """Return the finite ones among `figures`, with a prefix to their names."""
    return {prefix + name: value for name, value in figures.items() if math.isfinite(value)}


def time_to_target(run: RunView) -> dict[str, float]:
    """Return the seconds of training after which the run reached its target, by the name for it; empty: it did not."""
    return {} if run.time_to_target is None else {"time_to_target": run.time_to_target}
