"""A contestant of the speedrun: a recipe of ganzoo, trained, and 5,000 samples written.

    python benchmarks/speedrun/contestant.py benchmarks/speedrun/cpu.toml --root data --out samples.npy --seed 0

It is `ganzoo run` and `ganzoo sample` in one process, which need not import torch twice.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
from clock import since_start

import ganzoo


def main() -> None:
    """Train, draw samples and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--root", required=True, help="folder of MNIST as torchvision lays it out")
    parser.add_argument("--out", type=Path, required=True, help="file for the samples, (N, H, W) uint8")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--samples", type=int, default=5000)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE", help="for trials")
    options = parser.parse_args()
    fixed = {
        "run.seed": options.seed,
        "run.root": options.out.parent / "runs",
        "dataset.root": options.root,
        "device.accelerator": options.device,
    }
    run = ganzoo.run(options.recipe, [*options.overrides, *(f"{key}={value}" for key, value in fixed.items())])
    print(f"trained at {since_start():.2f} s", flush=True)
    images = run.sample(options.samples, seed=options.seed)
    np.save(options.out, ((images[:, 0] + 1) * 127.5).round().clamp(0, 255).byte().numpy())
    facts = {"seed": options.seed, "steps": run.checkpoint.step, "seconds": round(since_start(), 2)}
    print(json.dumps({**facts, "cpu": round(time.process_time(), 2)}), flush=True)


if __name__ == "__main__":
    main()
