"""Every way that a device can train: the table of docs/pages/performance.md for the machine at hand.

    python benchmarks/devices.py [--recipe benchmarks/dcgan64.toml] [--batch 64] [--set KEY=VALUE]

Each row is `ganzoo bench` with its options in a process of its own. A way that the device does not have is a row that
says why. Prints Markdown, to be pasted as it is.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
WAYS: dict[str, dict[str, tuple[str, ...]]] = {
    "cuda": {
        "fp32": ("precision=fp32",),
        "fp32, TF32": ("precision=fp32", "tf32=true"),
        "bf16": ("precision=bf16",),
        "fp16": ("precision=fp16",),
        "fp32, CUDA graphs": ("precision=fp32", "cuda_graphs=true"),
        "bf16, CUDA graphs": ("precision=bf16", "cuda_graphs=true"),
        "fp16, CUDA graphs": ("precision=fp16", "cuda_graphs=true"),
        "bf16, compiled": ("precision=bf16", "compile=true"),
        "bf16, compiled, CUDA graphs": ("precision=bf16", "compile=true", "cuda_graphs=true"),
    },
    "mps": {
        "fp32": ("precision=fp32",),
        "bf16": ("precision=bf16",),
        "fp16": ("precision=fp16",),
        "fp32, compiled": ("precision=fp32", "compile=true"),
    },
    "cpu": {
        "fp32": ("precision=fp32",),
        "bf16": ("precision=bf16",),
        "fp32, compiled": ("precision=fp32", "compile=true"),
        "bf16, compiled": ("precision=bf16", "compile=true"),
    },
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", type=Path, default=HERE / "dcgan64.toml")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--accelerator", choices=[*WAYS], help="left out: the best that is there")
    parser.add_argument("--only", action="append", metavar="ROW", help="this row; may be given again")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--baseline", type=Path, default=HERE / "tutorial_loop.py")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    accelerator = options.accelerator or best_accelerator()
    if unknown := [row for row in options.only or () if row not in WAYS[accelerator]]:
        parser.error(f"--only {unknown[0]}: the rows are {'; '.join(WAYS[accelerator])}")
    if options.rounds < 2:
        parser.error(f"--rounds {options.rounds}: give 2 or more")
    print(f"`python benchmarks/{Path(__file__).name} {' '.join(sys.argv[1:])}`".replace(" `", "`"))
    print("\n| | bare step, images/s (best, median) | whole run | × tutorial | share of matrix product | peak memory |")
    print("|---|---|---|---|---|---|")
    for name, settings in WAYS[accelerator].items():
        if options.only is None or name in options.only:
            print(row(name, measured(options, (f"accelerator={accelerator}", *settings))), flush=True)


def best_accelerator() -> str:
    """CUDA where there is one, else MPS, else the CPU."""
    from ganzoo.runtime.device import available_accelerators

    return available_accelerators()[0]


def measured(options: argparse.Namespace, settings: tuple[str, ...]) -> dict[str, Any] | str:
    """The figures of `ganzoo bench`, or why there are none."""
    overrides = [f"trainer.batch_size={options.batch}", *(f"device.{each}" for each in settings), *options.overrides]
    command = [sys.executable, "-m", "ganzoo", "bench", str(options.recipe), "--json"]
    command += ["--baseline", str(options.baseline), "--rounds", str(options.rounds), "--steps", str(options.steps)]
    for override in overrides:
        command += ["--set", override]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        lines = [line for line in ended.stderr.splitlines() if line.strip()] or ["no reason given"]
        return next((line for line in reversed(lines) if line.startswith("error:")), lines[-1])
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def row(name: str, found: dict[str, Any] | str) -> str:
    """A row of the table."""
    if isinstance(found, str):
        return f"| {name} | not there: {found} | | | | |"
    step, run = found["images_per_second"]["step"], found["images_per_second"]["run"]
    share = found["share_of_matrix_product"][found["machine"]["precision"]]
    memory = found["peak_memory_bytes"]
    shown = f"{memory / 1e9:.2f} GB" if memory is not None else "not known"
    return (
        f"| {name} | {step['best']:.1f}, {step['median']:.1f} | {run['best']:.1f}, {run['median']:.1f} "
        f"| {found['ratios']['step']['best']:.2f} | {share:.0%} | {shown} |"
    )


if __name__ == "__main__":
    main()
