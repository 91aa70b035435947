"""Machine limits: the speed of the matrix product, and the peak memory of the process."""

from __future__ import annotations

import time
from pathlib import Path

import torch

from ganzoo.runtime.device import Compute

SIDES = {"cpu": (512, 1024, 2048), "cuda": (4096, 8192), "mps": (2048, 4096)}
"""Sides of the square matrices to multiply; which is fastest depends on caches."""
TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def matrix_product_speed(compute: Compute, precision: str) -> float:
    """Measure the FLOP a second of the product of two square matrices, the best over several sizes."""
    best = 0.0
    for side in SIDES[compute.device.type]:
        left, right = (torch.ones(side, side, dtype=TYPES[precision], device=compute.device) for _ in range(2))
        out = left @ right
        for _ in range(2):
            compute.synchronize()
            start = time.perf_counter()
            torch.mm(left, right, out=out)
            compute.synchronize()
            best = max(best, 2 * side**3 / (time.perf_counter() - start))
    return best


def comparable_precisions(compute: Compute) -> list[str]:
    """Return the precisions whose matrix product is measured: fp32, bf16, and the run's own."""
    both = ["fp32", "bf16"] if compute.device.type != "mps" else ["fp32"]
    return [*both, *({compute.precision} - {*both})]


def reset_peak_memory(compute: Compute) -> None:
    """Reset the peak memory, where the system can."""
    if compute.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(compute.device)
        return
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def peak_memory(compute: Compute) -> int | None:
    """Return the peak memory in bytes since the reset: torch's on the GPU, else the process's; None: not known."""
    if compute.device.type == "cuda":
        return torch.cuda.max_memory_allocated(compute.device)
    if compute.device.type == "mps":
        return torch.mps.driver_allocated_memory()
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)
