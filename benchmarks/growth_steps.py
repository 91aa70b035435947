"""Whether a long run stays as it began: time of a step, memory and files over many steps of a tiny GAN.

    python benchmarks/growth_steps.py [--steps 100000] [--wandb offline] [--out steps.json]

Everything that goes on in a run goes on in this one: metrics every ten steps, checkpoints, grids, W&B.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

import ganzoo
from ganzoo.registry.hookspecs import hookimpl
from ganzoo.registry.plugin_manager import plugin_manager

ROWS = 20


class Watcher:
    """Takes a row of figures twenty times over a run."""

    def __init__(self, every: int) -> None:
        self.every = every
        self.rows: list[dict[str, Any]] = []
        self._time = (0.0, 0.0)

    @hookimpl
    def run_started(self) -> None:
        """Start the clocks."""
        self._time = (time.perf_counter(), time.process_time())

    @hookimpl
    def step_ended(self, run: Any, step: int) -> None:
        """Note where the run stands."""
        if step % self.every:
            return
        now = (time.perf_counter(), time.process_time())
        wall, cpu = ((new - old) / self.every * 1e3 for new, old in zip(now, self._time, strict=True))
        self.rows.append(
            {
                "step": step,
                "ms_a_step": round(wall, 3),
                "cpu_ms_a_step": round(cpu, 3),
                "resident_mb": round(resident() / 1e6, 1),
                "metrics_mb": round(size_of(run.directory.metrics) / 1e6, 2),
                "run_directory_mb": round(size_of(run.directory.path) / 1e6, 2),
                "files": sum(len(files) for _, _, files in os.walk(run.directory.path)),
            }
        )
        print(json.dumps(self.rows[-1]), flush=True)
        self._time = (time.perf_counter(), time.process_time())


def resident() -> int:
    """Bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def size_of(folder: Path) -> int:
    """Bytes of all files in a folder, or of a file; 0 where there is none."""
    return sum(path.stat().st_size for path in (folder, *folder.rglob("*")) if path.is_file())


def tables(steps: int, root: str, wandb: str) -> dict[str, Any]:
    """The smallest GAN there is, on made-up images."""
    return {
        "run": {"name": "growth", "steps": steps, "root": root},
        "device": {"accelerator": "cpu", "precision": "fp32"},
        "dataset": {"name": "synthetic", "image_size": 16, "count": 1024},
        "generator": {"name": "dcgan", "width": 2, "latent_dim": 4},
        "discriminator": {"name": "dcgan", "width": 2},
        "loss": {"name": "non_saturating"},
        "trainer": {"name": "adversarial", "batch_size": 4},
        "samples": {"every": max(1, steps // 200)},
        "tracking": {"wandb": {"mode": wandb}},
    }


def main() -> None:
    """Train and report."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--steps", type=int, default=100_000)
    options.add_argument("--wandb", choices=["disabled", "offline"], default="offline")
    options.add_argument("--out", type=Path, help="write the rows as JSON")
    arguments = options.parse_args()
    torch.set_num_threads(1)
    watcher = Watcher(max(1, arguments.steps // ROWS))
    manager = plugin_manager()
    manager.pluggy.register(watcher, name="watcher")
    with tempfile.TemporaryDirectory() as folder:
        ganzoo.run(tables(arguments.steps, folder, arguments.wandb), manager=manager)
    if arguments.out:
        arguments.out.write_text(json.dumps(watcher.rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
