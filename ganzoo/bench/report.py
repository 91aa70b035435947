"""The report of a measurement, as figures and as text."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ganzoo.bench.timing import LoopTiming
from ganzoo.text import size_in_words

NAMES = {"baseline": "baseline", "step": "bare step", "run": "whole run"}


@dataclass(frozen=True)
class Report:
    """Measurement of one recipe.

    Attributes:
        recipe: its file.
        machine: device, processor, threads, torch's version, precision, whether the networks are compiled.
        batch_size: real images in a minibatch.
        images_per_step: real images that one step takes.
        rounds: number of interleaved rounds.
        steps: timed steps in a round.
        timings: timings of "step", "run" and, where given, "baseline".
        matrix_product: FLOP a second of the machine's matrix product, by precision.
        flop_per_image: operations of a step over its number of real images.
        peak_memory: bytes; None: not known.
        parts: share of each part in the time of a step.
        periodic_costs: seconds of writing samples and a checkpoint, and the steps between two of them.
    """

    recipe: str
    machine: Mapping[str, str | int]
    batch_size: int
    images_per_step: int
    rounds: int
    steps: int
    timings: Mapping[str, LoopTiming]
    matrix_product: Mapping[str, float]
    flop_per_image: float
    peak_memory: int | None
    parts: Mapping[str, float]
    periodic_costs: Mapping[str, Mapping[str, float]]

    def to_dict(self) -> dict[str, Any]:
        """Return the report as values for JSON."""
        speeds = {name: timing.images_per_second() for name, timing in self.timings.items()}
        return {
            "recipe": self.recipe,
            "machine": dict(self.machine),
            "batch_size": self.batch_size,
            "images_per_step": self.images_per_step,
            "rounds": self.rounds,
            "steps_per_round": self.steps,
            "images_per_second": speeds,
            "ratios": self.ratios(),
            "overhead": self.overhead(),
            "flop_per_image": self.flop_per_image,
            "matrix_product_flops": dict(self.matrix_product),
            "share_of_matrix_product": self.share_of_matrix_product(),
            "peak_memory_bytes": self.peak_memory,
            "parts": dict(self.parts),
            "periodic_costs": {name: dict(cost) for name, cost in self.periodic_costs.items()},
        }

    def ratios(self) -> dict[str, dict[str, float]]:
        """Return the speedup over the baseline: best round to best round, and the median over rounds."""
        if "baseline" not in self.timings:
            return {}
        baseline = self.timings["baseline"].seconds
        return {
            name: {
                "best": min(baseline) / min(self.timings[name].seconds),
                "median": statistics.median(
                    theirs / ours for theirs, ours in zip(baseline, self.timings[name].seconds, strict=True)
                ),
            }
            for name in ("step", "run")
        }

    def overhead(self) -> dict[str, float]:
        """Return the overhead of data, loop and observers as a share of the bare step, by source."""
        step, run = (self.timings[name].seconds for name in ("step", "run"))
        a_step = statistics.median(step) * self.images_per_step
        return {
            "every_step_best": min(run) / min(step) - 1,
            "every_step_median": statistics.median(ours / bare - 1 for ours, bare in zip(run, step, strict=True)),
            **{name: cost["seconds"] / cost["every"] / a_step for name, cost in self.periodic_costs.items()},
        }

    def share_of_matrix_product(self) -> dict[str, float]:
        """Return the FLOP/s of the bare step's best round over that of the matrix product, in each precision."""
        speed = self.timings["step"].images_per_second()["best"] * self.flop_per_image
        return {precision: speed / most for precision, most in self.matrix_product.items()}

    def to_text(self) -> str:
        """Return the report as text for a terminal."""
        found = self.to_dict()
        machine = found["machine"]
        lines = [
            f"{self.recipe}: {machine['device']} ({machine['processor']}, {machine['threads']} threads, "
            f"torch {machine['torch']}) in {machine['precision']}, batch {self.batch_size}; "
            f"{self.rounds} interleaved rounds of {self.steps} steps",
            "",
            "images a second      best   median   times the baseline (best, median)",
        ]
        for name in ("baseline", "step", "run"):
            if name in found["images_per_second"]:
                speeds = found["images_per_second"][name]
                ratio = found["ratios"].get(name)
                times = f"   {ratio['best']:.2f}, {ratio['median']:.2f}" if ratio else ""
                lines.append(f"  {NAMES[name]:14} {speeds['best']:9.1f} {speeds['median']:8.1f}{times}")
        overhead = found["overhead"]
        lines += [
            "",
            f"data, loop and observers beside the bare step: {overhead['every_step_best']:+.1%} at best, "
            f"{overhead['every_step_median']:+.1%} in the median",
            *(
                f"  {name}: {cost['seconds']:.2f} s every {cost['every']:.0f} steps, {overhead[name]:+.2%}"
                for name, cost in found["periodic_costs"].items()
            ),
            "",
            f"{self.flop_per_image / 1e9:.2f} GFLOP an image; "
            + "; ".join(
                f"{share:.0%} of the {precision} matrix product ({found['matrix_product_flops'][precision] / 1e9:.0f} "
                "GFLOP/s)"
                for precision, share in found["share_of_matrix_product"].items()
            ),
            f"peak memory: {size_in_words(self.peak_memory) if self.peak_memory is not None else 'not known'}",
            "",
            "where the time goes: " + ", ".join(f"{part} {share:.1%}" for part, share in found["parts"].items()),
        ]
        return "\n".join(lines)
