"""Registration of a sweep on W&B, whose agents call `ganzoo run` on any number of machines."""

from __future__ import annotations

import contextlib
import io
from typing import Any

from ganzoo.plugin import GanzooError, GridSearch, say
from ganzoo_trackers.configs import WandbConfig
from ganzoo_trackers.wandb.session import in_short, require_key


def register(sweep: GridSearch, options: WandbConfig) -> str:
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
    say(f"every machine that is to take part runs, where the recipe is:  wandb agent {registered}")
    return registered


def describe(sweep: GridSearch) -> dict[str, Any]:
    """Return W&B's configuration of a grid search over the same grid.

    An agent appends each choice as `loss.name=hinge`, an argument of its own; see wandb's
    `create_sweep_command_args`. Parameters keep their dots: nested ones would lock whole tables of the config.
    """
    return {
        "name": sweep.name,
        "description": f"ganzoo: {sweep.source}",
        "method": "grid",
        "command": ["${env}", *sweep.command, "${args_no_hyphens}"],
        "parameters": {key: {"values": list(values)} for key, values in sweep.values.items()},
    }
