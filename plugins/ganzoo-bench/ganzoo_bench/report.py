"""The report of a measurement, as figures and as text."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

NAMES = {"baseline": "baseline", "step": "bare step", "run": "whole run"}


def report(seconds: Mapping[str, Sequence[float]], measured: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was measured and all that follows from it, as values for JSON.

    Args:
        seconds: an image in each round of "step", "run" and, where given, "baseline".
        measured: the other figures; those used here are "images_per_step", "flop_per_image", "matrix_product_flops"
            (FLOP a second by precision) and "periodic_costs" (seconds of writing samples and a checkpoint, and the
            steps between two of them).
    """
    speeds = {
        name: {"best": 1 / min(rounds), "median": 1 / statistics.median(rounds)} for name, rounds in seconds.items()
    }
    step, run, baseline = seconds["step"], seconds["run"], seconds.get("baseline")
    ratios = {
        name: {
            "best": min(baseline) / min(seconds[name]),
            "median": statistics.median(theirs / ours for theirs, ours in zip(baseline, seconds[name], strict=True)),
        }
        for name in ("step", "run")
        if baseline is not None
    }
    step_seconds = statistics.median(step) * measured["images_per_step"]
    overhead = {
        "every_step_best": min(run) / min(step) - 1,
        "every_step_median": statistics.median(ours / bare - 1 for ours, bare in zip(run, step, strict=True)),
    }
    for name, cost in measured["periodic_costs"].items():
        overhead[name] = cost["seconds"] / cost["every"] / step_seconds
    flops = speeds["step"]["best"] * measured["flop_per_image"]
    shares = {precision: flops / most for precision, most in measured["matrix_product_flops"].items()}
    return {
        **measured,
        "images_per_second": speeds,
        "ratios": ratios,
        "overhead": overhead,
        "share_of_matrix_product": shares,
    }


def to_text(found: Mapping[str, Any]) -> str:
    """Return a report as text for a terminal."""
    machine, overhead, memory = found["machine"], found["overhead"], found["peak_memory_bytes"]
    lines = [
        f"{found['recipe']}: {machine['device']} ({machine['processor']}, {machine['threads']} threads, "
        f"torch {machine['torch']}) in {machine['precision']}, batch {found['batch_size']}; "
        f"{found['rounds']} interleaved rounds of {found['steps_per_round']} steps",
        "",
        "images a second      best   median   times the baseline (best, median)",
    ]
    for name in ("baseline", "step", "run"):
        if name in found["images_per_second"]:
            speeds = found["images_per_second"][name]
            ratio = found["ratios"].get(name)
            times = f"   {ratio['best']:.2f}, {ratio['median']:.2f}" if ratio else ""
            lines.append(f"  {NAMES[name]:14} {speeds['best']:9.1f} {speeds['median']:8.1f}{times}")
    lines += [
        "",
        f"data, loop and observers beside the bare step: {overhead['every_step_best']:+.1%} at best, "
        f"{overhead['every_step_median']:+.1%} in the median",
        *(
            f"  {name}: {cost['seconds']:.2f} s every {cost['every']:.0f} steps, {overhead[name]:+.2%}"
            for name, cost in found["periodic_costs"].items()
        ),
        "",
        f"{found['flop_per_image'] / 1e9:.2f} GFLOP an image; "
        + "; ".join(
            f"{share:.0%} of the {precision} matrix product ({found['matrix_product_flops'][precision] / 1e9:.0f} "
            "GFLOP/s)"
            for precision, share in found["share_of_matrix_product"].items()
        ),
        f"peak memory: {'not known' if memory is None else _size(memory)}",
        "",
        "where the time goes: " + ", ".join(f"{part} {share:.1%}" for part, share in found["parts"].items()),
    ]
    if load := found.get("under_load"):
        share = load["beside"] / load["alone"]
        lines += [
            "",
            f"beside a busy process: {load['beside']:.1f} images a second of {load['alone']:.1f}, {share:.0%}",
        ]
    return "\n".join(lines)


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"
