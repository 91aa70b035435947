"""What a measurement found, as figures and as text."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ganzoo.bench.timing import Contestant
from ganzoo.text import size_in_words

NAMES = {"baseline": "baseline", "step": "bare step", "run": "whole run"}


@dataclass(frozen=True)
class Report:
    """One measurement of one recipe.

    Attributes:
        recipe: its file.
        machine: device, processor, threads, torch's version, precision, whether the networks are compiled.
        batch_size: real images in a minibatch.
        images_per_step: real images that one step takes.
        rounds: turns that each contestant had.
        steps: of a turn.
        contestants: "step", "run" and where there is one "baseline".
        matrix_product: FLOP a second of the machine's matrix product, by precision.
        flop_per_image: operations of a step, by the real images in it.
        peak_memory: bytes; None: not known.
        parts: share of each part in the time of a step.
        now_and_then: seconds that samples and a checkpoint take, and every how many steps they are due.
    """

    recipe: str
    machine: Mapping[str, str | int]
    batch_size: int
    images_per_step: int
    rounds: int
    steps: int
    contestants: Mapping[str, Contestant]
    matrix_product: Mapping[str, float]
    flop_per_image: float
    peak_memory: int | None
    parts: Mapping[str, float]
    now_and_then: Mapping[str, Mapping[str, float]]

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        speeds = {name: contestant.images_per_second() for name, contestant in self.contestants.items()}
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
            "now_and_then": {name: dict(cost) for name, cost in self.now_and_then.items()},
        }

    def ratios(self) -> dict[str, dict[str, float]]:
        """How many times as fast as the baseline: best turn to best turn, and the median over rounds."""
        if "baseline" not in self.contestants:
            return {}
        baseline = self.contestants["baseline"].seconds
        return {
            name: {
                "best": min(baseline) / min(self.contestants[name].seconds),
                "median": statistics.median(
                    theirs / ours for theirs, ours in zip(baseline, self.contestants[name].seconds, strict=True)
                ),
            }
            for name in ("step", "run")
        }

    def overhead(self) -> dict[str, float]:
        """What data, loop and observers add to the bare step, as a share of it; samples and checkpoints apart."""
        step, run = (self.contestants[name].seconds for name in ("step", "run"))
        a_step = statistics.median(step) * self.images_per_step
        return {
            "every_step_best": min(run) / min(step) - 1,
            "every_step_median": statistics.median(ours / bare - 1 for ours, bare in zip(run, step, strict=True)),
            **{name: cost["seconds"] / cost["every"] / a_step for name, cost in self.now_and_then.items()},
        }

    def share_of_matrix_product(self) -> dict[str, float]:
        """The best turn of the bare step, in operations, by what the matrix product does, in each precision."""
        speed = self.contestants["step"].images_per_second()["best"] * self.flop_per_image
        return {precision: speed / most for precision, most in self.matrix_product.items()}

    def to_text(self) -> str:
        """As a terminal shows it."""
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
                for name, cost in found["now_and_then"].items()
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
