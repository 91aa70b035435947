"""A recipe that trains in a moment, for the tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def tiny_recipe(root: Path, **changes: Any) -> dict[str, Any]:
    """Six steps on made-up images of 16 pixels, with networks of a few thousand weights, below `root`.

    `changes` are tables that go over these, or in their place where they name another component.
    """
    tables: dict[str, Any] = {
        "run": {"name": "tiny", "seed": 7, "steps": 6, "log_every": 2, "root": str(root / "runs")},
        "device": {"accelerator": "cpu", "precision": "fp32"},
        "dataset": {"name": "synthetic", "image_size": 16, "count": 64},
        "generator": {"name": "dcgan", "width": 4, "latent_dim": 8},
        "discriminator": {"name": "dcgan", "width": 4},
        "loss": {"name": "non_saturating"},
        "trainer": {"name": "adversarial", "batch_size": 8},
        "samples": {"every": 100, "count": 4, "gif": False},
        "checkpoint": {"every": 3},
        "tracking": {"wandb": {"mode": "disabled"}},
    }
    for name, table in changes.items():
        before = tables.get(name, {})
        replaced = not before or (name != "run" and "name" in table and table["name"] != before["name"])
        tables[name] = table if replaced else {**before, **table}
    return tables
