"""Runs of three steps of every kind that several processes could get wrong.

Started in several processes with a folder as its argument, it trains all of them there, one after the other.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tiny_recipe import tiny_recipe

SGD = {"name": "sgd", "lr": 0.05}
GENTLE = {"name": "sgd", "lr": 0.01}

# What each has beside the common recipe: no Adam but where it is asked for, since it makes a large step of a tiny
# gradient, and so of its rounding error.
CASES: dict[str, dict[str, Any]] = {
    "dcgan": {},
    "adam": {"trainer": {"generator_optimizer": {"name": "adam"}, "discriminator_optimizer": {"name": "adam"}}},
    "wgan_gp": {
        "loss": {"name": "wasserstein"},
        "penalties": [{"name": "gradient_penalty"}],
        "discriminator": {"norm": "layer"},
        "trainer": {"discriminator_optimizer": GENTLE},
    },
    "gradient_penalty_through_batch_norm": {
        "penalties": [{"name": "gradient_penalty"}],
        "trainer": {"discriminator_optimizer": GENTLE},
    },
    "r1": {"penalties": [{"name": "r1"}]},
    "several_discriminator_steps": {
        "penalties": [{"name": "r1", "weight": 0.1, "interval": 2}, {"name": "r2", "weight": 0.1}],
        "trainer": {"discriminator_steps": 3},
    },
    "alternate_minibatches": {"trainer": {"schedule": "alternate_minibatches", "discriminator_steps": 2}},
    "separate": {"trainer": {"discriminator_update": "separate"}},
    "running_statistics": {"trainer": {"fake_batch": "fresh", "fake_statistics": "running"}},
    "frozen": {"init": {"freeze": ["discriminator.blocks.1", "generator.blocks.0"]}},
    "schedules": {
        "penalties": [{"name": "r1", "weight": {"from": 1.0, "to": 0.1}}],
        "trainer": {
            "generator_optimizer": {"name": "sgd", "lr": {"from": 0.05, "to": 0.0, "until": "2 steps"}},
            "ema_decay": 0.0,
            "ema_half_life": {"from": 8, "to": 64},
            "ema_ramp": 0.5,
        },
    },
    "two_generator_steps": {"trainer": {"generator_steps": 2}},
    "own_update": {
        "penalties": [{"name": "r1", "weight": 0.1, "interval": 2, "own_update": True}],
        "trainer": {"discriminator_optimizer": GENTLE},
    },
    "r3gan": {
        "generator": {"name": "r3gan", "width": 8, "latent_dim": 8, "conditional": True},
        "discriminator": {"name": "r3gan", "width": 8, "conditional": True},
        "loss": {"name": "relativistic_pairing"},
        "penalties": [
            {"name": "r1", "weight": {"from": 0.5, "to": 0.1, "shape": "cosine"}},
            {"name": "r2", "weight": {"from": 0.5, "to": 0.1, "shape": "cosine"}},
            {"name": "diff_augment", "probability": {"from": 0.0, "to": 0.5}},
        ],
        "trainer": {
            "schedule": "alternate_minibatches",
            "ema_decay": 0.0,
            "ema_half_life": {"from": 0, "to": 64},
            "ema_buffers": "copy",
            "discriminator_optimizer": GENTLE,
        },
    },
    "pacgan": {
        "penalties": [{"name": "r1", "weight": 0.1}, {"name": "diff_augment"}],
        "trainer": {"name": "pacgan", "packing": 2, "discriminator_optimizer": GENTLE},
    },
    "micro_batches": {
        "trainer": {"micro_batch_size": 4, "fake_batch": "fresh", "discriminator_steps": 2},
        "loss": {"name": "relativistic_pairing"},
        "discriminator": {"norm": "layer"},
    },
    "clipped": {"trainer": {"generator_grad_clip": 0.1, "discriminator_grad_clip": 0.1}},
}


def tables_of(case: Mapping[str, Any], name: str, root: Path) -> dict[str, Any]:
    """The recipe of a case."""
    tables = tiny_recipe(
        root,
        run={"name": name, "steps": 3, "log_every": 1, "root": str(root)},
        dataset={"horizontal_flip": True},
        trainer={"ema_decay": 0.5, "generator_optimizer": SGD, "discriminator_optimizer": SGD},
    )
    del tables["checkpoint"]
    for table, values in case.items():
        tables[table] = {**tables.get(table, {}), **values} if isinstance(values, dict) else values
    return tables


def train_all(cases: Mapping[str, Mapping[str, Any]], root: Path) -> None:
    """Train each, in as many processes as this program was started in."""
    import ganzoo

    for name, case in cases.items():
        ganzoo.run(tables_of(case, name, root))


if __name__ == "__main__":
    from ganzoo.runtime import distributed

    distributed.BUCKET_LIMIT = 64  # so that gradients of these networks go both ways: one by one, and together
    train_all(CASES, Path(sys.argv[1]))
