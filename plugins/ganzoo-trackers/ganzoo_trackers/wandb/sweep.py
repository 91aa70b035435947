"""Registration of a sweep on W&B, whose agents call `ganzoo run` on any number of machines."""

from __future__ import annotations

import contextlib
import io
from typing import Any

from ganzoo.plugin import AgentSweep, GanzooError, say
from ganzoo_trackers.configs import WandbConfig
from ganzoo_trackers.wandb.session import in_short, require_key


def register(sweep: AgentSweep, options: WandbConfig) -> str:
    """Create the sweep on W&B and return `entity/project/id`, which `wandb agent` takes.

    Raises:
        GanzooError: nobody is logged in, or W&B refuses.
    """
    import wandb

    require_key()
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # stdout belongs to the result
            number = wandb.sweep(describe(sweep), entity=options.entity, project=options.project)
        entity = options.entity or wandb.Api().default_entity
    except Exception as error:
        raise GanzooError(f"--wandb: W&B does not register the sweep: {in_short(error)}") from error
    registered = "/".join(filter(None, (entity, options.project, number)))
    say(f"every machine that is to take part runs, in this folder or a copy of it:  wandb agent {registered}")
    return registered


def describe(sweep: AgentSweep) -> dict[str, Any]:
    """Return W&B's configuration of the sweep.

    The metric to optimize goes by a name of its own, since the summary of a score holds its extremes. An agent appends
    each choice as `loss.name=hinge`, an argument of its own; see wandb's `create_sweep_command_args`. Parameters keep
    their dots: nested ones would lock whole tables of the config.
    """
    optimized = {"metric": {"name": "objective", "goal": sweep.goal}} if sweep.metric else {}
    words = ["--set", f"tracking.wandb.objective={sweep.metric}"] if sweep.metric else []
    values: dict[str, Any] = {key: {"values": list(values)} for key, values in sweep.values.items()}
    return {
        "name": sweep.name,
        "description": f"ganzoo: {sweep.source}",
        "method": sweep.method or "grid",
        "command": ["${env}", *sweep.command, *words, "${args_no_hyphens}"],
        "parameters": values | {key: distribution(*ends) for key, ends in sweep.ranges.items()},
        **optimized,
        **({"run_cap": sweep.runs} if sweep.runs else {}),
    }


WIDE = 100
"""Ratio of the ends of a range from which on values are taken on a logarithmic scale."""


def distribution(low: float, high: float) -> dict[str, Any]:
    """Return W&B's distribution over a range: of whole numbers where both ends are."""
    if isinstance(low, int) and isinstance(high, int):
        kind = "int_uniform"
    else:
        kind = "log_uniform_values" if low > 0 and high / low >= WIDE else "uniform"
    return {"distribution": kind, "min": low, "max": high}
