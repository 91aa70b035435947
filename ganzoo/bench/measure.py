"""Measures a recipe: its bare step, the whole run around it, and a loop to compare with."""

from __future__ import annotations

import importlib.util
import math
import platform
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import cast

import torch

from ganzoo.bench.machine import comparable_precisions, forget_peak_memory, matrix_product_speed, peak_memory
from ganzoo.bench.profile import flop_of_step, time_by_part
from ganzoo.bench.report import Report
from ganzoo.bench.timing import Contestant, Pacer, Step, TimedEvents
from ganzoo.errors import RequestError
from ganzoo.observers.samples import GRIDS
from ganzoo.observers.standard import standard_observers
from ganzoo.recipe.load import open_recipe
from ganzoo.recipe.model import Recipe
from ganzoo.registry.plugin_manager import PluginManager, plugin_manager
from ganzoo.terminal import packing_progress, warn
from ganzoo.training.build import build_run
from ganzoo.training.loop import train
from ganzoo.training.run import Run

MORE_STEPS = 10
"""Steps that the bare trainer takes beside the turns: warming up, counting, profiling."""


def measure(
    recipe: str | Path,
    overrides: Iterable[str] = (),
    *,
    baseline: Path | None = None,
    rounds: int = 5,
    steps: int = 3,
    manager: PluginManager | None = None,
) -> Report:
    """Train in turns by the bare step, by the whole run, and by the baseline, and look at the machine meanwhile.

    Nothing is written but to a folder that is removed again, and nothing is sent to W&B unless an override says so.

    Args:
        recipe: a TOML file.
        overrides: "trainer.batch_size=64" and the like.
        baseline: a Python file whose function `baseline(run)` returns one that trains a step on the dataset of
            `run` and returns how many images it took; the file is executed.
        rounds: turns of each.
        steps: a turn has.
        manager: the plugins to use; left out: those installed.

    Raises:
        GanzooError: the recipe is wrong, or something in it or in the baseline cannot be had.
    """
    asked, manager = open_recipe(recipe, manager or plugin_manager(), overrides)
    with tempfile.TemporaryDirectory(prefix="ganzoo-bench-") as folder:
        total = rounds * steps + 1  # the last step, at which samples and checkpoints are due, is in no turn
        bare, whole = (_build(asked, manager, folder, total + extra, steps, overrides) for extra in (MORE_STEPS, 0))
        step = _bare_step(bare)
        contestants = {"step": Contestant(step), "run": Contestant(None)}
        forget_peak_memory(bare.compute)
        step()  # warms up
        memory = peak_memory(bare.compute)
        flop = flop_of_step(bare)
        if baseline is not None:
            step_of_baseline = load_baseline(baseline)(bare)
            step_of_baseline()
            contestants["baseline"] = Contestant(step_of_baseline)
        speeds: dict[str, float] = {}

        def others() -> None:
            for contestant in contestants.values():
                if contestant.step is not None:
                    contestant.turn(bare.compute, steps)
            for precision in comparable_precisions(bare.compute):
                speeds[precision] = max(speeds.get(precision, 0.0), matrix_product_speed(bare.compute, precision))

        events = whole.events = TimedEvents(manager.pluggy.list_name_plugin(), warn)
        pacer = Pacer(whole, contestants["run"], steps, others)
        events.register_standard([*standard_observers(whole, manager), pacer])
        train(whole)
        return Report(
            recipe=str(recipe),
            machine=_machine(bare),
            batch_size=bare.recipe.trainer.batch_size,
            images_per_step=bare.images_per_step,
            rounds=rounds,
            steps=steps,
            contestants=contestants,
            matrix_product=speeds,
            flop_per_image=flop / bare.images_per_step,
            peak_memory=memory,
            parts=time_by_part(bare),
            now_and_then=_now_and_then(asked, bare, events.at_step),
        )


def load_baseline(path: Path) -> Callable[[Run], Step]:
    """The function `baseline` of a file.

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


def _build(asked: Recipe, manager: PluginManager, folder: str, total: int, steps: int, overrides: Iterable[str]) -> Run:
    """A run of `total` steps that logs at least once a turn, and draws and saves at its end alone."""
    tracked = any(override.startswith("tracking.") for override in overrides)
    run = asked.run.model_copy(
        update={"steps": total, "epochs": None, "root": folder, "log_every": min(steps, asked.run.log_every)}
    )
    wandb = asked.tracking.wandb if tracked else asked.tracking.wandb.model_copy(update={"mode": "disabled"})
    recipe = asked.model_copy(
        update={
            "run": run,
            "samples": asked.samples.model_copy(update={"every": total, "gif": False}),
            "checkpoint": asked.checkpoint.model_copy(update={"every": total}),
            "tracking": asked.tracking.model_copy(update={"wandb": wandb}),
        }
    )
    with packing_progress() as progress:
        return build_run(recipe, manager, warn=warn, progress=progress)


def _bare_step(run: Run) -> Step:
    """The trainer's step on one minibatch, again and again."""
    batch = run.loader.next()

    def step() -> int:
        run.trainer.train_step(batch)
        return len(batch)

    return step


def _now_and_then(asked: Recipe, run: Run, at_step: dict[int, dict[str, float]]) -> dict[str, dict[str, float]]:
    """What samples and checkpoints cost when they are due, and how often the recipe wants them."""
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
