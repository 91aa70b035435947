"""What trackers say of a run beside its recipe."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from typing import Any

from ganzoo.plugin import RecipeView, RunDirectory, RunView

SCORE = "score/"
"""Prefix of the scores among the metrics."""
PROTOCOL = re.compile(
    r"evaluation\.(?!every|seed|extractors|metrics)|dataset\.(?!root|download)|samples\.batch_norm|.*\.sampling\."
)
"""Options that scores of one name depend on."""
NO_MATTER = ("plugins", "tracking", "samples", "checkpoint", "observers", "watchdog", "run")
"""Tables that no figure depends on; of "run" the seed counts, and the length where an option is scheduled over it."""


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


def fingerprint(recipe: RecipeView) -> str:
    """Return a hash of the options that the figures of a step depend on."""
    tables = recipe.to_dict()
    options = {name: table for name, table in tables.items() if name not in NO_MATTER}
    counting = {"seed"} | ({"steps", "epochs"} if '"until"' in json.dumps(options) else set())
    options["run"] = {key: value for key, value in tables["run"].items() if key in counting}
    return hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()[:16]


def forks(run: RunView, record: Mapping[str, Any], sent: Any) -> bool:
    """Return whether a run goes on from an earlier step than the last that was sent, with options that change figures.

    Args:
        run: the run.
        record: what its tracker wrote of it, with the `fingerprint` of its options then as "settings".
        sent: the last step sent; another kind of value where that is not known.
    """
    step, settings = run.resumed_from, fingerprint(run.recipe)
    changed = record.get("settings", settings) != settings
    return step is not None and changed and (not isinstance(sent, int) or sent > step)


def finite(figures: Mapping[str, float], prefix: str = "") -> dict[str, float]:
    """Return the finite ones among `figures`, with a prefix to their names."""
    return {prefix + name: value for name, value in figures.items() if math.isfinite(value)}


def time_to_target(run: RunView) -> dict[str, float]:
    """Return the seconds of training after which the run reached its target, by the name for it; empty: it did not."""
    return {} if run.time_to_target is None else {"time_to_target": run.time_to_target}


def later_scores(directory: RunDirectory, recipe: RecipeView, scores: Mapping[str, float]) -> dict[str, float]:
    """Return the finite scores of a later evaluation under the names that they have while training.

    Taken with other options than the run's, they do not compare to those: the fid of `--samples 50000` is then
    "score.samples_50000/fid".
    """
    before, now = dict(flat(directory.read_recipe())), dict(flat(recipe.to_dict()))
    changed = {key: value for key, value in now.items() if PROTOCOL.match(key) and not alike(value, before.get(key))}
    told = "".join(f".{key.rpartition('.')[2]}_{value}" for key, value in changed.items())
    return finite(scores, re.sub(r"[^\w.-]+", "_", SCORE[:-1] + told) + "/")


def alike(value: Any, other: Any) -> bool:
    """Return whether two values of an option are the same to JSON, which has no tuples."""
    return json.dumps(value) == json.dumps(other)


def flat(tables: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Return every option with its dotted path."""
    found: list[tuple[str, Any]] = []
    for key, value in tables.items():
        found += flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [(f"{prefix}{key}", value)]
    return found
