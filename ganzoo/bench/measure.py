"""Measurement of a recipe: its bare training step, the whole run around it, and a baseline loop."""

from __future__ import annotations

import importlib.util
import math
import platform
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import cast

import torch

from ganzoo.bench.machine import comparable_precisions, matrix_product_speed, peak_memory, reset_peak_memory
from ganzoo.bench.profile import flop_of_step, time_by_part
from ganzoo.bench.report import Report
from ganzoo.bench.timing import LoopTiming, RoundTimer, Step, TimedEvents
from ganzoo.errors import RequestError
from ganzoo.observers.samples import GRIDS
from ganzoo.observers.standard import recipe_observers, standard_observers
from ganzoo.recipe.load import load_recipe
from ganzoo.recipe.model import Recipe
from ganzoo.recipe.overrides import Overrides, override_pairs
from ganzoo.registry.plugin_manager import PluginManager, plugin_manager
from ganzoo.terminal import packing_progress, warn
from ganzoo.training.build import build_run
from ganzoo.training.loop import train
from ganzoo.training.run import Run

UNTIMED_STEPS = 10
"""Steps that the bare trainer takes outside the timed rounds: warm-up, counting, profiling."""


def measure(
    recipe: str | Path,
    overrides: Overrides = (),
    *,
    baseline: Path | None = None,
    rounds: int = 5,
    steps: int = 3,
    manager: PluginManager | None = None,
) -> Report:
    """Time the bare step, the whole run and the baseline in interleaved rounds, and the machine's matrix product.

    Files are written to a temporary folder only, and nothing is sent to W&B unless an override says so.

    Args:
        recipe: a TOML file.
        overrides: `{"trainer.batch_size": 64}` and the like; or texts as `--set` takes them.
        baseline: a Python file whose function `baseline(run)` returns one that trains a step on the dataset of
            `run` and returns its number of images; the file is executed.
        rounds: number of rounds.
        steps: timed steps of each in a round.
        manager: the plugins to use; left out: those installed.

    Raises:
        GanzooError: the recipe is invalid, or something in it or the baseline is missing.
    """
    changes = override_pairs(overrides)
    tracked = any(key.startswith("tracking.") for key, _ in changes)
    asked, manager = load_recipe(recipe, manager or plugin_manager(), changes)
    with tempfile.TemporaryDirectory(prefix="ganzoo-bench-") as folder:
        total = rounds * steps + 1  # the last step, at which samples and checkpoints are due, is not timed
        bare, whole = (_build(asked, manager, folder, total + extra, steps, tracked) for extra in (UNTIMED_STEPS, 0))
        step = _bare_step(bare)
        timings = {"step": LoopTiming(step), "run": LoopTiming(None)}
        reset_peak_memory(bare.compute)
        step()  # warms up
        memory = peak_memory(bare.compute)
        flop = flop_of_step(bare)
        if baseline is not None:
            baseline_step = load_baseline(baseline)(bare)
            baseline_step()
            timings["baseline"] = LoopTiming(baseline_step)
        speeds: dict[str, float] = {}

        def other_rounds() -> None:
            for timing in timings.values():
                if timing.step is not None:
                    timing.time_round(bare.compute, steps)
            for precision in comparable_precisions(bare.compute):
                speeds[precision] = max(speeds.get(precision, 0.0), matrix_product_speed(bare.compute, precision))

        events = whole.events = TimedEvents(manager.pluggy.list_name_plugin(), warn)
        timer = RoundTimer(whole, timings["run"], steps, other_rounds)
        events.register_standard([*standard_observers(whole, manager), timer])
        for name, observer in recipe_observers(asked, manager).items():
            events.register(observer, f"observers.{name}")
        train(whole)
        return Report(
            recipe=str(recipe),
            machine=_machine(bare),
            batch_size=bare.recipe.trainer.batch_size,
            images_per_step=bare.images_per_step,
            rounds=rounds,
            steps=steps,
            timings=timings,
            matrix_product=speeds,
            flop_per_image=flop / bare.images_per_step,
            peak_memory=memory,
            parts=time_by_part(bare),
            periodic_costs=_periodic_costs(asked, bare, events.at_step),
        )


def load_baseline(path: Path) -> Callable[[Run], Step]:
    """Load the function `baseline` of a file.

    Raises:
        RequestError: there is no such file, it does not load, or has no such function.
    """
    spec = importlib.util.spec_from_file_location("ganzoo_baseline", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise RequestError(f"--baseline {path}: there is no such Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise RequestError(f"--baseline {path}: does not load: {type(error).__name__}: {error}") from error
    if not callable(getattr(module, "baseline", None)):
        raise RequestError(f"--baseline {path}: has no function baseline(run)")
    return cast("Callable[[Run], Step]", module.baseline)


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


def _bare_step(run: Run) -> Step:
    """Return a function that trains on the same minibatch at each call."""
    batch = run.loader.next()

    def step() -> int:
        run.trainer.train_step(batch)
        return len(batch)

    return step


def _periodic_costs(asked: Recipe, run: Run, at_step: dict[int, dict[str, float]]) -> dict[str, dict[str, float]]:
    """Return the seconds of writing samples and a checkpoint, and the number of steps between two of them."""
    last = at_step[max(at_step)]
    length = asked.run.steps or asked.run.epochs * run.loader.steps_per_epoch  # type: ignore[operator]
    every = {
        "SampleWriter": asked.samples.every or math.ceil(length / GRIDS),
        "CheckpointWriter": asked.checkpoint.every,
    }
    names = {"SampleWriter": "samples", "CheckpointWriter": "checkpoint"}
    return {
        names[observer]: {"seconds": last[observer], "every": steps}
        for observer, steps in every.items()
        if observer in last
    }


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
