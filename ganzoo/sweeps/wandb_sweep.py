"""Registers the grid of a sweep on W&B, whose agents call `ganzoo run` on as many machines as there are."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable
from typing import Any

from ganzoo.errors import GanzooError
from ganzoo.recipe.overrides import toml_value
from ganzoo.sweeps.plan import Plan


def register(plan: Plan, overrides: Iterable[str] = ()) -> str:
    """Make the sweep on W&B; gives `entity/project/id`, which `wandb agent` takes.

    Args:
        plan: checked already.
        overrides: what `--set` gave; the agents' runs get it too.

    Raises:
        GanzooError: nobody is logged in here, or W&B refuses.
    """
    import wandb

    from ganzoo.observers.wandb.account import in_short, require_key

    require_key()
    options = plan.variants[0].recipe.tracking.wandb
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # stdout belongs to the result
            number = wandb.sweep(config(plan, overrides), entity=options.entity, project=options.project)
        entity = options.entity or wandb.Api().default_entity
    except Exception as error:
        raise GanzooError(f"--wandb: W&B does not register the sweep: {in_short(error)}") from error
    return "/".join(filter(None, (entity, options.project, number)))


def config(plan: Plan, overrides: Iterable[str] = ()) -> dict[str, Any]:
    """The sweep as W&B describes one: the same grid, all values of which its agents go through.

    An agent appends each choice as `loss.name=hinge`, an argument of its own; see wandb's
    `create_sweep_command_args`. Parameters keep their dots: nested ones would lock whole tables of the config.
    """
    fixed = [*overrides, f"tracking.wandb.group={plan.name}"]
    parameters: dict[str, Any] = {key: {"values": [_value(text) for text in texts]} for key, texts in plan.vary.items()}
    parameters["run.seed"] = {"values": list(plan.seeds)}
    return {
        "name": plan.name,
        "description": f"ganzoo: {plan.source}",
        "method": "grid",
        "command": [
            *("${env}", "ganzoo", "run", plan.source),
            *(word for override in fixed for word in ("--set", override)),
            "${args_no_hyphens}",
        ],
        "parameters": parameters,
    }


def _value(text: str) -> Any:
    """A value as W&B shows it, from which an agent writes one that reads the same as `text`.

    Numbers and plain words are as they are. Anything else stays TOML: Python's True is none.
    """
    value = toml_value(text)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return text
    return value if toml_value(str(value)) == value else text
