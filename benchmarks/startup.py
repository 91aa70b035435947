"""How long commands take to answer, and a run to its first step.

    python benchmarks/startup.py [--rounds 7] [--json]

Every command is a process of its own; they take turns, so that a machine that is busy for a while is so for all.
Ends with 1 where a light command needs more than 0.4 s, or a run more than 2 s beyond importing torch, at best.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

RECIPE = str(Path(__file__).parents[1] / "recipes" / "dcgan_digits.toml")
LIGHT_LIMIT = 0.4
RUN_LIMIT = 2.0
TORCH = "python -c 'import torch'"

# A plugin that ends the process as soon as the first step is done.
LEAVE = """
import os
from ganzoo.plugin import hookimpl

@hookimpl
def step_ended(step):
    os._exit(0)
"""


@dataclass
class Case:
    """A command and what it took, in seconds."""

    name: str
    command: Sequence[str]
    limit: float | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    code: int = 0
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def take(self) -> None:
        """Run it once."""
        environment = {**os.environ, **self.environment}
        started = time.perf_counter()
        child = subprocess.Popen(
            self.command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={name: value for name, value in environment.items() if name != "PYTHONDONTWRITEBYTECODE"},
        )
        assert child.stderr is not None
        problem = child.stderr.read()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode != self.code:
            sys.exit(f"{self.name} ended with {child.returncode}: {problem.decode()}")
        self.wall.append(time.perf_counter() - started)
        self.cpu.append(usage.ru_utime + usage.ru_stime)


def cases(folder: Path) -> list[Case]:
    """What is measured, with its files in `folder`."""
    ganzoo = [sys.executable, "-m", "ganzoo"]
    leave = folder / "leave.py"
    leave.write_text(LEAVE, encoding="utf-8")
    variables = {"GANZOO_CACHE": str(folder / "cache"), "GANZOO_PLUGIN_FILES": str(leave)}
    run = [*ganzoo, "run", RECIPE, "--set", f"run.root={folder / 'runs'}"]
    light = {
        "ganzoo --help": ["--help"],
        "ganzoo run --help": ["run", "--help"],
        "ganzoo plugins": ["plugins"],
        "ganzoo list losses": ["list", "losses"],
        "ganzoo recipe check": ["recipe", "check", RECIPE],
    }
    return [
        Case("python -c pass", [sys.executable, "-c", "pass"]),
        *(Case(name, [*ganzoo, *arguments], LIGHT_LIMIT) for name, arguments in light.items()),
        Case("ganzoo run, with a mistake in the recipe", [*run, "--set", "run.stepz=3"], LIGHT_LIMIT, code=2),
        Case("ganzoo recipe schema", [*ganzoo, "recipe", "schema"]),
        Case(TORCH, [sys.executable, "-c", "import torch"]),
        Case(
            "ganzoo run, to step 1, W&B disabled",
            [*run, "--set", "tracking.wandb.mode=disabled"],
            RUN_LIMIT,
            variables,
        ),
        Case(
            "ganzoo run, to step 1, W&B offline", [*run, "--set", "tracking.wandb.mode=offline"], RUN_LIMIT, variables
        ),
    ]


def main() -> None:
    """Measure and report."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=7, help="how often each command is run")
    options.add_argument("--json", action="store_true", help="print JSON")
    arguments = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measured = cases(Path(folder))
        for case in measured:  # once in advance: bytecode, the pack, the disk's cache
            case.take()
            case.wall.clear()
            case.cpu.clear()
        for _ in range(arguments.rounds):
            for case in measured:
                case.take()
    torch = next(case for case in measured if case.name == TORCH)
    rows, slow = [], []
    for case in measured:
        beyond = min(torch.wall) if case.limit == RUN_LIMIT else 0.0
        best = min(case.wall) - beyond
        rows.append(
            {
                "command": case.name,
                "wall_min": min(case.wall),
                "wall_median": statistics.median(case.wall),
                "cpu_min": min(case.cpu),
                "beyond_torch_min": best if beyond else None,
                "limit": case.limit,
            }
        )
        if case.limit is not None and best > case.limit:
            slow.append(f"{case.name}: {best:.2f} s, and the limit is {case.limit} s")
    if arguments.json:
        print(json.dumps(rows, indent=2))
    else:
        print("| command | wall, best | wall, median | CPU, best | beyond torch | limit |\n|---|---|---|---|---|---|")
        for row in rows:
            figures = (row[key] for key in ("wall_min", "wall_median", "cpu_min", "beyond_torch_min", "limit"))
            print(f"| `{row['command']}` |", " | ".join("" if each is None else f"{each:.2f}" for each in figures), "|")
    if slow:
        sys.exit("\n".join(slow))


if __name__ == "__main__":
    main()
