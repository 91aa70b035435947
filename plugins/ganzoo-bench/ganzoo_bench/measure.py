"""Measurement of a recipe: its bare training step, the whole run around it, and a baseline loop."""

from __future__ import annotations

import platform
import runpy
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ganzoo import api
from ganzoo.plugin import (
    GanzooError,
    Overrides,
    RequestError,
    Run,
    RunDirectory,
    count_progress,
    hookimpl,
    kept_random_state,
)
from ganzoo_bench.profile import flop_of_step, matrix_product_speed, peak_memory, reset_peak_memory, time_by_part
from ganzoo_bench.report import report

Step = Callable[[], int]
"""Trains one step and returns its number of real images."""
ADAPTING, TIMED = 3.0, 4.0
"""Seconds of training until the threads have adapted to a load, and those that are timed then."""


@kept_random_state()
def measure(
    recipe: str | Path,
    overrides: Overrides = (),
    *,
    baseline: Path | None = None,
    rounds: int = 5,
    steps: int = 3,
    under_load: bool = False,
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
        under_load: whether to time the bare step also beside a process that keeps one core busy.

    Raises:
        GanzooError: the recipe is invalid, or something in it or the baseline is missing.
    """
    given = list(overrides.items() if isinstance(overrides, Mapping) else overrides)
    with tempfile.TemporaryDirectory(prefix="ganzoo-bench-") as folder:
        bare = api.build(recipe, [*given, ("run.root", folder)])
        with bare.computing():
            tracked = any((each if isinstance(each, str) else each[0]).startswith("tracking.") for each in given)
            found = {"recipe": str(recipe), **_measure(bare, baseline, rounds, steps, tracked=tracked)}
            return found | ({"under_load": _measure_under_load(bare, rounds)} if under_load else {})


def _measure(bare: Run, baseline: Path | None, rounds: int, steps: int, *, tracked: bool) -> dict[str, Any]:
    """Measure with `bare`, whose steps are taken without a loop around them."""
    batch = bare.loader.next()

    def step() -> int:
        bare.trainer.train_step(batch)
        return len(batch)

    loops: dict[str, Step] = {"step": step}
    reset_peak_memory(bare.device)
    step()  # warms up
    memory = peak_memory(bare.device)
    flop = flop_of_step(bare)
    if baseline is not None:
        loops["baseline"] = load_step(baseline, bare)
        loops["baseline"]()
    seconds: dict[str, list[float]] = {"run": [], **{name: [] for name in loops}}
    speeds = dict.fromkeys(["fp32", bare.precision], 0.0)  # no others: emulated bf16 takes 200 times as long

    def between_rounds() -> None:
        progress(len(seconds["run"]), rounds)
        for name, loop in loops.items():
            start = _now(bare)
            images = sum(loop() for _ in range(steps))
            seconds[name].append((_now(bare) - start) / images)
        for precision in speeds:
            speeds[precision] = max(speeds[precision], matrix_product_speed(bare, precision))

    whole = _build_shorter(bare, rounds * steps, steps, tracked=tracked)
    timer, costs = RoundTimer(whole, seconds["run"], rounds, steps, between_rounds), CostTimer(whole)
    with count_progress(what="rounds") as progress:
        api.train(whole, observers=[timer, costs])
    if len(seconds["run"]) < rounds:
        raise GanzooError(f"{len(seconds['run'])} of {rounds} rounds were timed: the warning before says why")
    options = bare.recipe
    measured = {
        "machine": _machine(bare),
        "batch_size": options.trainer.batch_size,
        "images_per_step": bare.images_per_step,
        "rounds": rounds,
        "steps_per_round": steps,
        "flop_per_image": flop / bare.images_per_step,
        "matrix_product_flops": speeds,
        "peak_memory_bytes": memory,
        "parts": time_by_part(bare),
        "periodic_costs": {
            "samples": {
                "seconds": costs.samples,
                "every": options.samples.interval(bare.total_steps),
            },
            "checkpoint": {"seconds": costs.checkpoint, "every": options.checkpoint.every},
        },
    }
    return report(seconds, measured)


def _measure_under_load(bare: Run, rounds: int) -> dict[str, float]:
    """Return the images a second of the bare step, "alone" and "beside" a busy process, in interleaved rounds."""
    batch = bare.loader.next()

    def speed() -> float:
        start = end = _now(bare)
        images = 0
        while end < start + TIMED:
            bare.trainer.train_step(batch)
            images, end = images + len(batch), _now(bare)
        return images / (end - start)

    def adapted() -> float:
        until = _now(bare) + ADAPTING
        while _now(bare) < until:
            bare.trainer.train_step(batch)
        return speed()

    alone, beside = [], []
    with count_progress(what="rounds under load") as progress:
        for number in range(rounds):
            alone.append(adapted())
            with busy_process():
                beside.append(adapted())
            progress(number + 1, rounds)
    return {"alone": statistics.median(alone), "beside": statistics.median(beside)}


@contextmanager
def busy_process() -> Iterator[None]:
    """While open, another process keeps one core busy."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _build_shorter(bare: Run, timed: int, steps: int, *, tracked: bool) -> Run:
    """Build the run of `timed` steps, and two more at which samples and checkpoints are made; it is not scored.

    It logs at least once a round. The second time that something is made tells what it costs, without any start.
    """
    changes = {
        "run.steps": timed + 2,
        "run.target": {},
        "run.log_every": min(steps, bare.recipe.run.log_every),
        "samples.every": timed + 1,
        "samples.gif": False,
        "checkpoint.every": timed + 1,
    }
    whole = api.build(bare.recipe, changes)
    whole.directory = _TemporaryDirectory(whole.directory.path)
    left_out: dict[str, Any] = {
        "evaluation": whole.recipe.evaluation.model_copy(update={"every": None}),
        "checkpoint": whole.recipe.checkpoint.model_copy(update={"best": None}),
    }
    if not tracked:
        tracking = whole.recipe.tracking
        left_out["tracking"] = tracking.model_copy(update=dict.fromkeys(tracking.chosen()))
    whole.recipe = whole.recipe.model_copy(update=left_out)
    return whole


class _TemporaryDirectory(RunDirectory):
    """The run directory of a measurement, which no later command can open."""

    def command(self, verb: str, out: str | None = None) -> str:
        """Return what to do in place of a command on the run."""
        return "the same command measures anew"


class RoundTimer:
    """Times the rounds of a run, and runs the other loops in between.

    Args:
        run: that it observes.
        seconds: gets the seconds an image of each round.
        rounds: number of rounds.
        steps: steps of a round.
        between: called after each round.
    """

    def __init__(self, run: Run, seconds: list[float], rounds: int, steps: int, between: Callable[[], None]) -> None:
        self._run = run
        self._seconds = seconds
        self._rounds = rounds
        self._steps = steps
        self._between = between

    @hookimpl(trylast=True)
    def run_started(self) -> None:
        """Start the clock."""
        self._start = _now(self._run)

    @hookimpl(trylast=True)
    def step_ended(self, step: int) -> None:
        """End a round where it is over."""
        if step % self._steps == 0 and len(self._seconds) < self._rounds:
            self._seconds.append((_now(self._run) - self._start) / (self._steps * self._run.images_per_step))
            self._between()
            self.run_started()


class CostTimer:
    """Times the writing of samples and of a checkpoint, from the event before each; the last time counts.

    Args:
        run: that it observes.
    """

    samples = checkpoint = 0.0
    """Seconds."""

    def __init__(self, run: Run) -> None:
        self._run = run

    @hookimpl
    def step_ended(self) -> None:
        """Start the clock."""
        self._start = _now(self._run)

    @hookimpl(trylast=True)
    def samples_ready(self) -> None:
        """Take the time of samples, with what trackers do with them."""
        self.samples = _now(self._run) - self._start
        self._start += self.samples

    @hookimpl(tryfirst=True)
    def checkpoint_saved(self) -> None:
        """Take the time of a checkpoint."""
        self.checkpoint = _now(self._run) - self._start
        self._start += self.checkpoint


def _now(run: Run) -> float:
    """Return the time once the device has finished all queued work."""
    run.compute.synchronize()
    return time.perf_counter()


def load_step(path: Path, run: Run) -> Step:
    """Return the step of a baseline, which rounds convolutions to TF32 on NVIDIA GPUs as torch does by default.

    Args:
        path: the file, which is executed.
        run: that its function `baseline` is called with.

    Raises:
        RequestError: there is no such file, it fails, or has no function that returns a step; so does the step, where
            it fails or returns no number of images.
    """
    if not path.is_file():
        raise RequestError(f"--baseline {path}: there is no such Python file")
    with _told(path, "does not load"):
        baseline = runpy.run_path(str(path)).get("baseline")
    if not callable(baseline):
        raise RequestError(f"--baseline {path}: has no function baseline(run)")
    with _told(path, "baseline(run) fails"):
        step = baseline(run)
    if not callable(step):
        raise RequestError(f"--baseline {path}: baseline(run) returns {step!r:.60}: let it return a function")
    defaults = replace(run.compute, tf32="convolutions")

    def taken() -> int:
        with _told(path, "its step fails"), defaults.fp32_products():
            images = step()
        if type(images) is not int or images < 1:
            raise RequestError(
                f"--baseline {path}: its step returns {images!r:.60}: let it return its number of images"
            )
        return images

    return taken


@contextmanager
def _told(path: Path, what: str) -> Iterator[None]:
    """Raise RequestError for what the code of a baseline raises."""
    try:
        yield
    except GanzooError:
        raise
    except (Exception, SystemExit) as error:
        raise RequestError(f"--baseline {path}: {what}: {type(error).__name__}: {error}") from error


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
