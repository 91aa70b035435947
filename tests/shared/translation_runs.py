"""Runs of four steps of pix2pix and CycleGAN; started with a folder, it trains both there."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

Tables = dict[str, Any]


def tables_of(kind: str, root: Path, **changes: Any) -> Tables:
    """Four steps of a kind of trainer on digits of 16 pixels."""
    pairs = kind == "pix2pix"
    sgd = {"name": "sgd", "lr": 0.01}
    tables: Tables = {
        "run": {"name": kind, "seed": 3, "steps": 4, "log_every": 1, "root": str(root)},
        "device": {"accelerator": "cpu", "precision": "fp32"},
        "dataset": {
            "name": "derived_pairs",
            "image_size": 16,
            "condition": ["outline"] if pairs else ["invert"],
            "pairing": "aligned" if pairs else "unpaired",
            "limit": 40,
        },
        "generator": {"name": "unet", "width": 4, "depth": 3, "norm": "instance", "latent_dim": 0},
        "discriminator": {"name": "patchgan", "width": 4, "depth": 2, "norm": "instance", "conditional": pairs},
        "loss": {"name": "non_saturating" if pairs else "least_squares"},
        "trainer": {
            "name": kind,
            "batch_size": 8,
            "ema_decay": 0.5,
            "generator_optimizer": sgd,
            "discriminator_optimizer": sgd,
            **({} if pairs else {"pool_size": 10}),
        },
        "samples": {"every": 4, "count": 5, "gif": False},
        "checkpoint": {"every": 2, "keep": 4},
        "tracking": {"wandb": {"mode": "disabled"}},
    }
    for name, table in changes.items():
        tables[name] = {**tables.get(name, {}), **table}
    return tables


if __name__ == "__main__":
    import ganzoo

    for case in ("pix2pix", "cyclegan"):
        ganzoo.run(tables_of(case, Path(sys.argv[1])))
