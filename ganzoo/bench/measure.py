"""Measurement of a recipe: its bare training step, the whole run around it, and a baseline loop."""

from __future__ import annotations

import math
import platform
import runpy
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar, cast

import torch

from ganzoo.bench.profile import flop_of_step, matrix_product_speed, peak_memory, reset_peak_memory, time_by_part
from ganzoo.bench.report import report
from ganzoo.errors import RequestError
from ganzoo.observers.samples import GRIDS, SampleWriter
from ganzoo.observers.standard import recipe_observers, standard_observers
from ganzoo.recipe.load import load_recipe
from ganzoo.recipe.model import Recipe
from ganzoo.recipe.overrides import Overrides, override_pairs
from ganzoo.registry.hookspecs import hookimpl
from ganzoo.registry.plugin_manager import PluginManager, plugin_manager
from ganzoo.runtime.device import fp32_products
from ganzoo.runtime.memory import memory_errors
from ganzoo.runtime.random_state import kept_random_state
from ganzoo.terminal import packing_progress, warn
from ganzoo.training.build import build_run
from ganzoo.training.checkpointing import save_checkpoint
from ganzoo.training.loop import train
from ganzoo.training.run import Run

T = TypeVar("T")
Step = Callable[[], int]
"""Trains one step and returns its number of real images."""

UNTIMED_STEPS = 10
"""Steps that the bare trainer takes outside the timed rounds: warm-up, counting, profiling."""


@kept_random_state()
def measure(
    recipe: str | Path,
    overrides: Overrides = (),
    *,
    baseline: Path | None = None,
    rounds: int = 5,
    steps: int = 3,
) -> dict[str, Any]:
    """Time the bare step, the whole run and the baseline in interleaved rounds, and return the report.

    Files are written to a temporary folder only, and nothing is tracked unless an override says so.

    Args:
        recipe: a TOML file.
        overrides: `{"trainer.batch_size": 64}` and the like; or texts as `--set` takes them.
        baseline: a Python file whose function `baseline(run)` returns one that trains a step on the dataset of
            `run` and returns its number of images; the file is executed.
        rounds: number of rounds.
        steps: timed steps of each in a round.

    Raises:
        GanzooError: the recipe is invalid, or something in it or the baseline is missing.
    """
    changes = override_pairs(overrides)
    tracked = any(key.startswith("tracking.") for key, _ in changes)
    asked, manager = load_recipe(recipe, plugin_manager(), changes)
    with tempfile.TemporaryDirectory(prefix="ganzoo-bench-") as folder, ExitStack() as stack:
        total = rounds * steps + 1  # the last step, at which samples and checkpoints are due, is not timed
        bare, whole = (_build(asked, manager, folder, total + extra, steps, tracked) for extra in (UNTIMED_STEPS, 0))
        stack.enter_context(bare.compute.fp32_products())
        stack.enter_context(bare.compute.compiler_errors())
        stack.enter_context(memory_errors(bare.device, bare.recipe.trainer.batch_size, lambda: "in a step"))
        batch = bare.loader.next()

        def step() -> int:
            bare.trainer.train_step(batch)
            return len(batch)

        loops: dict[str, Step] = {"step": step}
        reset_peak_memory(bare.compute)
        step()  # warms up
        memory = peak_memory(bare.compute)
        flop = flop_of_step(bare)
        if baseline is not None:
            loops["baseline"] = _with_torch_defaults(load_baseline(baseline)(bare), bare.device)
            loops["baseline"]()
        seconds: dict[str, list[float]] = {"run": [], **{name: [] for name in loops}}
        precisions = dict.fromkeys(["fp32", *(["bf16"] if bare.device.type != "mps" else []), bare.precision])
        speeds = dict.fromkeys(precisions, 0.0)

        def between_rounds() -> None:
            for name, loop in loops.items():
                spent, images = _timed(bare, lambda: sum(loop() for _ in range(steps)))  # noqa: B023 (called at once)
                seconds[name].append(spent / images)
            for precision in speeds:
                speeds[precision] = max(speeds[precision], matrix_product_speed(bare.compute, precision))

        timer = RoundTimer(whole, seconds["run"], steps, between_rounds)
        whole.events.register_standard([*standard_observers(whole, manager), timer])
        for name, observer in recipe_observers(asked, manager).items():
            whole.events.register(observer, f"observers.{name}")
        train(whole)
        length = asked.run.steps or asked.run.epochs * bare.loader.steps_per_epoch  # type: ignore[operator]
        sampling, _ = _timed(whole, lambda: SampleWriter().step_ended(whole, whole.step))
        saving, _ = _timed(whole, lambda: save_checkpoint(whole))
        measured = {
            "recipe": str(recipe),
            "machine": _machine(bare),
            "batch_size": bare.recipe.trainer.batch_size,
            "images_per_step": bare.images_per_step,
            "rounds": rounds,
            "steps_per_round": steps,
            "flop_per_image": flop / bare.images_per_step,
            "matrix_product_flops": speeds,
            "peak_memory_bytes": memory,
            "parts": time_by_part(bare),
            "periodic_costs": {
                "samples": {"seconds": sampling, "every": asked.samples.every or math.ceil(length / GRIDS)},
                "checkpoint": {"seconds": saving, "every": asked.checkpoint.every},
            },
        }
        return report(seconds, measured)


def _with_torch_defaults(step: Step, device: torch.device) -> Step:
    """Return a step that rounds convolutions to TF32 on NVIDIA GPUs, as torch does unless told otherwise."""

    def taken() -> int:
        with fp32_products(device, tf32="convolutions"):
            return step()

    return taken


class RoundTimer:
    """The last observer of a run: times its rounds, and runs the other loops in between.

    Args:
        run: that it observes.
        seconds: gets the seconds an image of each round.
        steps: steps of a round.
        between: called after each round.
    """

    def __init__(self, run: Run, seconds: list[float], steps: int, between: Callable[[], None]) -> None:
        self._run = run
        self._seconds = seconds
        self._steps = steps
        self._between = between

    @hookimpl
    def run_started(self) -> None:
        """Start the clock."""
        self._run.compute.synchronize()
        self._start = time.perf_counter()

    @hookimpl
    def step_ended(self, step: int) -> None:
        """End a round where it is over."""
        if step % self._steps == 0:
            self._run.compute.synchronize()
            self._seconds.append((time.perf_counter() - self._start) / (self._steps * self._run.images_per_step))
            self._between()
            self.run_started()


def _timed(run: Run, work: Callable[[], T]) -> tuple[float, T]:
    """Call `work`, and return the seconds that it took and its result."""
    run.compute.synchronize()
    start = time.perf_counter()
    result = work()
    run.compute.synchronize()
    return time.perf_counter() - start, result


def load_baseline(path: Path) -> Callable[[Run], Step]:
    """Load the function `baseline` of a file.

    Raises:
        RequestError: there is no such file, it does not load, or has no such function.
    """
    if not path.is_file():
        raise RequestError(f"--baseline {path}: there is no such Python file")
    try:
        baseline = runpy.run_path(str(path)).get("baseline")
    except Exception as error:
        raise RequestError(f"--baseline {path}: does not load: {type(error).__name__}: {error}") from error
    if not callable(baseline):
        raise RequestError(f"--baseline {path}: has no function baseline(run)")
    return cast("Callable[[Run], Step]", baseline)


def _build(asked: Recipe, manager: PluginManager, folder: str, total: int, steps: int, tracked: bool) -> Run:
    """Build a run of `total` steps that logs at least once a round, and samples and saves only at its end."""
    run = asked.run.model_copy(
        update={"steps": total, "epochs": None, "root": folder, "log_every": min(steps, asked.run.log_every)}
    )
    untracked = asked.tracking.model_copy(update=dict.fromkeys(asked.tracking.chosen()))
    recipe = asked.model_copy(
        update={
            "run": run,
            "samples": asked.samples.model_copy(update={"every": total, "gif": False}),
            "checkpoint": asked.checkpoint.model_copy(update={"every": total}),
            "tracking": asked.tracking if tracked else untracked,
        }
    )
    with packing_progress() as progress:
        return build_run(recipe, manager, warn=warn, progress=progress)


def _machine(run: Run) -> dict[str, str | int]:
    compute = run.compute
    on_gpu = compute.device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(compute.device) if on_gpu else str(compute.device),
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "precision": compute.precision,
        "compiled": compute.compiled,
    }
