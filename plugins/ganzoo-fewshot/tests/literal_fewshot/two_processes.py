"""Two short runs with every part of the plugin; started with a folder, it trains them there."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from tiny_recipe import tiny_recipe

SGD = {"name": "sgd", "lr": 0.01}
# No Adam: it makes a large step of a tiny gradient, and so of its rounding error.
OPTIMIZERS = {"generator_optimizer": SGD, "discriminator_optimizer": SGD}
AUGMENT = {"name": "diff_augment", "policies": ["color", "translation"]}
CASES: dict[str, dict[str, Any]] = {
    "fastgan": {
        "discriminator": {"name": "fastgan", "width": 4},
        "penalties": [AUGMENT, {"name": "reconstruction"}],
        "trainer": {"name": "fastgan", "batch_size": 4, **OPTIMIZERS},
    },
    "projected": {
        "discriminator": {
            "name": "projected",
            "model": "shufflenet_v2_x0_5",
            "weights": "random",
            "input_size": 64,
            "width": 8,
        },
        "penalties": [AUGMENT],
        "trainer": {"name": "adversarial", "batch_size": 4, "ema_decay": 0.5, "ema_buffers": "copy", **OPTIMIZERS},
    },
}


def recipe(root: Path, case: str, **changes: Any) -> dict[str, Any]:
    """The recipe of a case, of four steps on made-up images of 64 pixels."""
    tables = tiny_recipe(
        root,
        run={"name": case, "steps": 4, "log_every": 1, "root": str(root)},
        dataset={"image_size": 64, "count": 32},
        generator={"name": "fastgan", "width": 4, "latent_dim": 8, "noise": False},
        loss={"name": "uniform_hinge"},
        checkpoint={"every": 2},
        **CASES[case],
    )
    tables["generator"]["small_output"] = case == "fastgan"
    return tables | changes


def train_all(root: Path) -> None:
    """Train each, in as many processes as this program was started in."""
    import ganzoo

    for case in CASES:
        ganzoo.run(recipe(root, case))


if __name__ == "__main__":
    train_all(Path(sys.argv[1]))
