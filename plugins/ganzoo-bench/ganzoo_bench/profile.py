"""Profile of a training step, its operations and memory, and the speed of the machine's matrix product."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from ganzoo.plugin import Penalty, Run

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
SIDES = {"cpu": (512, 1024, 2048), "cuda": (4096, 8192), "mps": (2048, 4096)}
"""Sides of the square matrices to multiply; which is fastest depends on caches."""
LABEL = "ganzoo/"
OPTIMIZER = "Optimizer.step"
BACKWARD = "autograd::engine::evaluate_function"
PARTS = ("generator", "discriminator", "penalty", "optimizer", "data", "other")
_OF_PENALTIES = ("transform_images", "discriminator_term", "generator_term", "after_discriminator_step")


def flop_of_step(run: Run) -> int:
    """Count the floating-point operations of one training step, of products and convolutions by torch's formulas."""
    batch = run.loader.next()
    with CountFlop() as counter:
        run.trainer.train_step(batch)
    return int(counter.total)


class CountFlop(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While open, count operations by torch's formulas, double backward included, unlike torch's counter."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one operation and count it."""
        result = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.total += int(formula(*args, **(kwargs or {}), out_val=result))
        return result


def time_by_part(run: Run, steps: int = 2) -> dict[str, float]:
    """Return the share of each of `PARTS` in the time of a step, data included; they add up to 1.

    A network's share is its forward passes and their backward passes; calls by a penalty count as the penalty's.
    On a GPU it is GPU time.
    """
    on_gpu = run.device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with labeled(run), profile(activities=activities) as profiler:
        for _ in range(steps):
            with record_function(f"{LABEL}data"):
                batch = run.loader.next()
            run.trainer.train_step(batch)
        run.compute.synchronize()
    roots = [event for event in profiler.events() if event.cpu_parent is None]
    return shares(roots, on_gpu=on_gpu)


@contextmanager
def labeled(run: Run) -> Iterator[None]:
    """While open, label the work of networks and penalties in a profile; compiled networks stay unlabeled."""
    parts = run.trainer.parts
    labels: list[tuple[Any, str, str]] = []
    if not run.compute.compiled:
        labels += [(each, "forward", "generator") for each in parts.generators.values()]
        labels += [(each, "forward", "discriminator") for each in parts.discriminators.values()]
    for penalty in parts.penalties.values():
        overridden = [name for name in _OF_PENALTIES if getattr(type(penalty), name) is not getattr(Penalty, name)]
        labels += [(penalty, name, "penalty") for name in overridden]
    with ExitStack() as stack:
        for owner, method, label in labels:
            stack.enter_context(patch.object(owner, method, _with_label(getattr(owner, method), label)))
        yield


def _with_label(original: Callable[..., Any], label: str) -> Callable[..., Any]:
    def labeled(*arguments: Any, **named: Any) -> Any:
        with record_function(f"{LABEL}{label}"):
            return original(*arguments, **named)

    return labeled


def shares(roots: list[FunctionEvent], *, on_gpu: bool = False) -> dict[str, float]:
    """Return the share of each part in the time of these events and their children."""
    part_of_forward: dict[int, str] = {}
    spent: Counter[str] = Counter()
    backwards: list[FunctionEvent] = []

    def visit(event: FunctionEvent, part: str) -> None:
        if part == "other":
            part = _part_named(event.name) or part
        if event.name.startswith(BACKWARD):
            backwards.append(event)
            return
        if event.sequence_nr >= 0:
            part_of_forward.setdefault(event.sequence_nr, part)
        spent[part] += event.self_device_time_total if on_gpu else event.self_cpu_time_total
        for child in event.cpu_children:
            visit(child, part)

    for root in roots:
        visit(root, "other")
    for event in backwards:
        spent[part_of_forward.get(event.sequence_nr, "other")] += (
            event.device_time_total if on_gpu else event.cpu_time_total
        )
    total = sum(spent.values()) or 1
    return {part: spent[part] / total for part in PARTS}


def _part_named(name: str) -> str | None:
    if name.startswith(LABEL):
        return name.removeprefix(LABEL)
    return "optimizer" if name.startswith(OPTIMIZER) else None


def matrix_product_speed(run: Run, precision: str) -> float:
    """Measure the FLOP a second of the product of two square matrices, the best over several sizes."""
    best = 0.0
    for side in SIDES[run.device.type]:
        left, right = (torch.ones(side, side, dtype=DTYPES[precision], device=run.device) for _ in range(2))
        out = left @ right
        for _ in range(2):
            run.compute.synchronize()
            start = time.perf_counter()
            torch.mm(left, right, out=out)
            run.compute.synchronize()
            best = max(best, 2 * side**3 / (time.perf_counter() - start))
    return best


def reset_peak_memory(device: torch.device) -> None:
    """Reset the peak memory, where the system can."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory(device: torch.device) -> int | None:
    """Return the peak memory in bytes since the reset: torch's on the GPU, else the process's; None: not known."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if device.type == "mps":
        return torch.mps.driver_allocated_memory()
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)
