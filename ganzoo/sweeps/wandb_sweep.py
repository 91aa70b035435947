"""Registration of a sweep on W&B, whose agents call `ganzoo run` on any number of machines."""

from __future__ import annotations

import contextlib
import io
from typing import Any

from ganzoo.errors import GanzooError
from ganzoo.recipe.overrides import Overrides, override_pairs, toml_text, toml_value
from ganzoo.sweeps.plan import Plan, settings


def register(plan: Plan, overrides: Overrides = ()) -> str:
    """Create the sweep on W&B and return `entity/project/id`, which `wandb agent` takes.

    The agents' runs get the `overrides` of `--set` too.

    Raises:
        GanzooError: nobody is logged in, or W&B refuses.
    """
    import wandb

    from ganzoo.observers.wandb.session import in_short, require_key

    require_key()
    options = plan.variants[0].recipe.tracking.wandb
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # stdout belongs to the result
            number = wandb.sweep(config(plan, overrides), entity=options.entity, project=options.project)
        entity = options.entity or wandb.Api().default_entity
    except Exception as error:
        raise GanzooError(f"--wandb: W&B does not register the sweep: {in_short(error)}") from error
    return "/".join(filter(None, (entity, options.project, number)))


def config(plan: Plan, overrides: Overrides = ()) -> dict[str, Any]:
    """Return W&B's configuration of a grid search over the same grid.

    An agent appends each choice as `loss.name=hinge`, an argument of its own; see wandb's
    `create_sweep_command_args`. Parameters keep their dots: nested ones would lock whole tables of the config.
    """
    fixed = settings({**dict(override_pairs(overrides)), "tracking.wandb.group": plan.name})
    parameters = {key: {"values": [_value(each) for each in values]} for key, values in plan.vary.items()}
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


def _value(value: Any) -> Any:
    """Return a value for W&B, of which an agent's argument reads the same as `text`.

    Numbers and plain words are as they are. Anything else is TOML: Python's True is none.
    """
    simple = isinstance(value, str | int | float) and not isinstance(value, bool)
    return value if simple and toml_value(str(value)) == value else toml_text(value)
