"""What several processes gain: measured here with two, and projected to more on the networks that people have.

    python benchmarks/scaling.py [RECIPE] [--steps 6] [--gpu-step 0.015] [--json]

Measures a step of one process on the whole minibatch and on its half, a step of two processes on it, and what they say
to each other in it: how many messages, how many bytes, how long. A step of N processes is then projected as

    fixed + work · batch / N + messages · latency · log₂N + bytes · 2(N − 1)/N / bandwidth

where latency and bandwidth are those of a kind of network, written down below as what such networks are sold with.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__)

# Seconds for one message to go one way, and bytes a second.
NETWORKS = {
    "1 Gbit/s Ethernet": (50e-6, 0.117e9),
    "10 Gbit/s Ethernet": (30e-6, 1.17e9),
    "100 Gbit/s InfiniBand": (5e-6, 11.7e9),
    "NVLink, one machine": (5e-6, 200e9),
}
PAYS = 1.3
"""Twice as many processes pay while a step is faster by this factor; 2 is all that could be."""


def main() -> None:
    """Measure, project, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", nargs="?", default=str(HERE.with_name("dcgan64.toml")))
    parser.add_argument("--steps", type=int, default=6, help="of each measurement, beside two to warm up")
    parser.add_argument("--gpu-step", type=float, default=0.015, help="seconds of a step on a GPU to project for")
    parser.add_argument("--batch", type=int, help="left out: the recipe's")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(measure(options.recipe, options.steps, options.batch)))
        return
    batch = options.batch or batch_of(options.recipe)
    whole, half = (launch(1, options, share) for share in (batch, batch // 2))
    two = launch(2, options, batch)
    work = max((whole["step"] - half["step"]) / (batch - batch // 2), 1e-9)
    fixed = max(whole["step"] - work * batch, 0.0)
    result = {"batch": batch, "one": whole, "half": half, "two": two, "work": work, "fixed": fixed}
    if options.json:
        print(json.dumps(result, indent=2))
        return
    print(f"one process: {whole['step'] * 1e3:.0f} ms a step of {batch} images, {half['step'] * 1e3:.0f} ms of half")
    print(
        f"two processes: {two['step'] * 1e3:.0f} ms, {whole['step'] / two['step']:.2f}x as fast; of it "
        f"{two['exchange'] * 1e3:.0f} ms in {two['messages']} messages of {two['bytes'] / 1e6:.1f} MB together"
    )
    for title, step in (("this CPU", whole["step"]), ("a GPU", options.gpu_step)):
        print(f"\nprojected steps a second relative to one process, {title} ({step * 1e3:.0f} ms a step)")
        project(two, step, fixed / whole["step"] if title == "this CPU" else 0.1)


def project(two: dict[str, Any], step: float, fixed: float) -> None:
    """A line for each network: how much faster so many processes are, and from how many on more do not pay."""
    counts = [2**power for power in range(1, 8)]
    print(f"{'':24}" + "".join(f"{count:>7}" for count in counts) + "   pays up to")
    for name, (latency, bandwidth) in NETWORKS.items():
        times = {1: step} | {
            count: fixed * step
            + (1 - fixed) * step / count
            + two["messages"] * latency * math.log2(count)
            + two["bytes"] * 2 * (count - 1) / count / bandwidth
            for count in counts
        }
        most = 1
        while 2 * most in times and times[most] / times[2 * most] >= PAYS:
            most *= 2
        print(f"{name:24}" + "".join(f"{step / times[count]:7.2f}" for count in counts) + f"   {most}")


def batch_of(recipe: str) -> int:
    """The minibatch that a recipe asks for."""
    import tomllib

    return int(tomllib.loads(Path(recipe).read_text())["trainer"].get("batch_size", 128))


def launch(count: int, options: argparse.Namespace, batch: int) -> dict[str, Any]:
    """What so many processes of one thread each measured."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)] if count > 1 else []
    arguments = [str(HERE), options.recipe, "--worker", "--steps", str(options.steps), "--batch", str(batch)]
    ended = subprocess.run(
        [sys.executable, *torchrun, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    if ended.returncode:
        sys.exit(ended.stderr)
    return max(
        (json.loads(line) for line in ended.stdout.splitlines() if line.startswith("{")), key=lambda m: m["step"]
    )


def measure(recipe: str, steps: int, batch: int) -> dict[str, Any]:
    """The median step in seconds, and of the exchange in it messages, bytes and seconds."""
    from ganzoo.recipe.load import load_recipe
    from ganzoo.registry.plugin_manager import plugin_manager
    from ganzoo.runtime.device import choose_compute
    from ganzoo.runtime.distributed import world_from_env
    from ganzoo.training.build import build_run
    from ganzoo.training.loop import joint_step

    manager, world = plugin_manager(), world_from_env()
    with tempfile.TemporaryDirectory() as folder:
        settings = [f"trainer.batch_size={batch}", f"run.root={folder}", "device.precision=fp32"]
        loaded, _ = load_recipe(recipe, manager, settings)
        with world.connected(choose_compute(loaded.device, world).device):
            run = build_run(loaded, manager, warn=print, world=world)

            def step() -> float:
                started = time.perf_counter()
                world.all_reduce_signal(None)
                with joint_step(run):
                    run.trainer.train_step(run.loader.next())
                return time.perf_counter() - started

            took = [step() for _ in range(steps + 2)][2:]
            with watched() as said:
                for _ in range(steps):
                    step()
            world.all_reduce_signal(None)
    return {
        "step": statistics.median(took),
        "messages": round(said["messages"] / steps),
        "bytes": said["bytes"] / steps,
        "exchange": said["seconds"] / steps,
    }


@contextmanager
def watched() -> Iterator[dict[str, Any]]:
    """Counts what is said to other processes while open, and how long it takes when each message is waited for."""
    import torch.distributed as dist

    said: dict[str, Any] = {"messages": 0, "bytes": 0, "seconds": 0.0}

    def counting(send: Any) -> Any:
        def counted(tensor: Any, *arguments: Any, **options: Any) -> Any:
            said["messages"] += 1
            said["bytes"] += tensor.numel() * tensor.element_size()
            started = time.perf_counter()
            work = send(tensor, *arguments, **options)
            if work is not None:
                work.wait()
            said["seconds"] += time.perf_counter() - started
            return work

        return counted

    sends = {name: getattr(dist, name) for name in ("all_reduce", "broadcast")}
    for name, send in sends.items():
        setattr(dist, name, counting(send))
    try:
        yield said
    finally:
        for name, send in sends.items():
            setattr(dist, name, send)


if __name__ == "__main__":
    main()
