"""Running of a sweep: it starts child processes, waits for them, records their status, and stops resumably."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from ganzoo.errors import GanzooError, RequestError, RunDirectoryError
from ganzoo.recipe.load import Source
from ganzoo.recipe.overrides import Overrides
from ganzoo.registry.plugin_manager import PluginInfo, PluginManager, plugin_manager
from ganzoo.runtime.cpu_threads import available_cores
from ganzoo.runtime.environment import plugin_code
from ganzoo.runtime.output import surviving_output
from ganzoo.runtime.signals import ends_at_once, heeded_signals
from ganzoo.storage.run_directory import RunDirectory, run_lock
from ganzoo.sweeps.child_processes import Job, ended, is_written, outcome, start
from ganzoo.sweeps.directory import Member, SweepDirectory
from ganzoo.sweeps.display import SweepDisplay
from ganzoo.sweeps.plan import Plan, make_plan
from ganzoo.terminal import say, warn
from ganzoo.text import counted
from ganzoo.training.changed_environment import changed_code, refusal

POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Sweep:
    """The state of a sweep.

    Attributes:
        path: its directory, with `sweep.json` and a folder of runs for each variant.
        runs: the requested runs, each with its status and run directory.
    """

    path: Path
    runs: Sequence[Member]

    @property
    def failed(self) -> list[Member]:
        """Runs that failed."""
        return [member for member in self.runs if member.status == "failed"]

    @property
    def unfinished(self) -> list[Member]:
        """Runs that are neither complete nor failed: interrupted, or trained by another process."""
        return [member for member in self.runs if member.status not in ("complete", "failed")]


@surviving_output()
def sweep(
    recipe: Source,
    vary: Mapping[str, Sequence[Any]],
    overrides: Overrides = (),
    *,
    seeds: int = 1,
    jobs: int | None = None,
    gpus: Sequence[str] = (),
    name: str | None = None,
    retry_failed: bool = False,
    accept_changes: bool = False,
    manager: PluginManager | None = None,
) -> Sweep:
    """Train every combination of options with several seeds, each in a process of its own.

    All combinations are checked as recipes before anything starts. Called again with the same arguments it goes
    on: complete runs are left alone, interrupted ones are resumed; with more values or seeds it adds their runs.
    A run that fails does not end the sweep.

    Args:
        recipe: a TOML file, TOML text, its tables as a dictionary, or a checked recipe.
        vary: the values of each option, such as `{"loss.name": ["hinge", "non_saturating"]}`.
        overrides: `{"run.steps": 1000}` and the like, for all runs.
        seeds: how many runs each combination gets: the recipe's seed, and those that follow it.
        jobs: how many runs go on at a time; default: one, or one for each of `gpus`.
        gpus: their numbers, as `CUDA_VISIBLE_DEVICES` has them; each run gets one. Left out: every run sees all.
        name: of the sweep's directory below `run.root`; default: the recipe's name with "-sweep".
        retry_failed: go on with runs that failed before, from their last checkpoint.
        accept_changes: go on also where the code of plugins, or the data of a run, has changed since it was begun.
        manager: the plugins to check with; default: those installed. The runs always take those installed.

    Raises:
        GanzooError: the request is wrong, another process runs this sweep, or it was told to stop.
    """
    jobs = len(gpus) or 1 if jobs is None else jobs
    if jobs < 1:
        raise RequestError(f"--jobs {jobs}: must be 1 or more")
    if gpus:
        check_gpus(gpus)
    if jobs < len(gpus):
        raise RequestError(
            f"--jobs {jobs}: would leave some of --gpus {','.join(gpus)} idle: leave it out for a run on each at a time"
        )
    plan = make_plan(recipe, vary, seeds, overrides, manager or plugin_manager(), name=name)
    path = plan.root / plan.name
    SweepDirectory.prepare(path, plan)  # refuses before a folder is made
    for warning in plan.warnings:
        warn(warning)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RequestError(
            f"run.root: no sweep can be made in {path.parent}: {error.strerror}; "
            f"set run.root to a folder that can be written to"
        ) from error
    with run_lock(RunDirectory(path)):
        directory = SweepDirectory.prepare(path, plan)
        members = directory.of(plan)
        waiting = [member for member in members if _is_open(directory, member, retry_failed)]
        kept, now = directory.plugin_code, plan.code
        others = list(changed_code(kept, now)) if waiting else []
        if others and not accept_changes:
            raise refusal(f"{path}: {counted(len(waiting), 'run')} left, to be trained by another plugin:", others)
        directory.plugin_code = {**kept, **now} if waiting else {**now, **kept}
        directory.lay_out()
        with SweepDisplay(directory, members) as display:
            _run_all(directory, plan, waiting, display, _environments(jobs, gpus), accept_changes)
    return Sweep(path, members)


def check_gpus(gpus: Sequence[str]) -> None:
    """Check that this machine has these GPUs, of those that `CUDA_VISIBLE_DEVICES` names where it is set.

    Raises:
        RequestError: it has no such GPU, or none that torch can use.
    """
    import torch  # not above: without --gpus a sweep itself computes nothing

    count, named = torch.cuda.device_count(), os.environ.get("CUDA_VISIBLE_DEVICES")
    known = [*map(str, range(count))] if named is None else [each.strip() for each in named.split(",")]
    for gpu in gpus:
        if not count:
            raise RequestError(f"--gpus {gpu}: torch finds no GPU here: leave it out, and the runs take what there is")
        if gpu not in known and not (named is None and gpu.startswith(("GPU-", "MIG-"))):  # names that it may have
            raise RequestError(f"--gpus {gpu}: is not there; this machine has: {', '.join(known)}")


def _is_open(sweep: SweepDirectory, member: Member, retry_failed: bool) -> bool:
    """Update a member's status from its run directory, and return whether it is to be trained."""
    busy = is_written(sweep.log(member))  # first: until it ends, its process may make a run directory
    run, found = sweep.find_run(member), None
    if run is not None:
        member.run, busy = str(run.path.relative_to(sweep.path)), False
        try:
            with run_lock(run):
                found = ended(run)
        except RunDirectoryError:
            busy = True
    if busy:
        member.status = "running"
        warn(f"{member}: another process is training it; it is left alone")
        return False
    if found or member.status != "failed":
        member.status = found or ("waiting" if run is None else "interrupted")
    if member.status == "failed" and retry_failed:
        member.status = "waiting"
    return member.status in ("waiting", "interrupted")


def _run_all(
    sweep: SweepDirectory,
    plan: Plan,
    waiting: list[Member],
    display: SweepDisplay,
    environments: Sequence[Mapping[str, str]],
    accept_changes: bool,
) -> None:
    """Train the members `waiting`, one at a time in each of `environments`.

    Raises:
        GanzooError: a signal asked for a stop.
        RequestError: a plugin has changed meanwhile; runs under way have ended, no more were started.
    """
    trackers = plan.variants[0].recipe.tracking.chosen()
    running: list[Job] = []
    queue = list(waiting)
    changed: list[str] = []
    free = list(environments)
    with _signals() as received:
        try:
            while (queue and not received) or running:
                while queue and free and not received:
                    changed = list(changed_code(plan.code, plugin_code(plan.plugins, PluginInfo.code_on_disk)))
                    if changed:
                        queue.clear()
                        break
                    job = start(sweep, queue.pop(0), free.pop(0), accept_changes, trackers)
                    running.append(job)
                    job.member.status, job.member.error = "running", ""
                    sweep.save()
                    display.started(job)
                time.sleep(POLL_SECONDS)
                _pass_on(received, running)
                for job in [job for job in running if job.process.poll() is not None]:
                    running.remove(job)
                    free.append(job.environment)
                    _settle(sweep, job)
                    display.ended(job)
                display.look(running)
        finally:
            for job in running:  # left where the sweep itself fails; terminated, they save their state
                if job.process.poll() is None:
                    job.process.terminate()
            for job in running:
                job.process.wait()
                _settle(sweep, job)
    if received:
        done = sum(member.status == "complete" for member in sweep.runs)
        stopped = GanzooError(
            f"{sweep.path}: stopped by {signal.Signals(received[0]).name} with {done} of {len(sweep.runs)} runs "
            f"complete; the same command goes on"
        )
        stopped.exit_code = 128 + received[0]
        raise stopped
    if changed:
        raise refusal(f"{sweep.path}: no more runs were started, since they would be of another plugin:", changed)


def _settle(sweep: SweepDirectory, job: Job) -> None:
    member = job.member
    member.status, member.error = outcome(sweep, job)
    member.seconds = round(member.seconds + time.monotonic() - job.begun, 3)
    run = sweep.find_run(member)
    member.run = str(run.path.relative_to(sweep.path)) if run is not None else ""
    sweep.save()


def _pass_on(received: list[int], running: Sequence[Job]) -> None:
    """Pass a signal on: at the first the active runs save their state, at the second they end at once."""
    told = {job.told for job in running}
    for job in running:
        if len(received) > job.told:
            if not job.told:
                job.process.send_signal(signal.SIGINT if received[0] == signal.SIGINT else signal.SIGTERM)
            else:
                job.process.kill()
            job.told += 1
    if received and told == {0}:
        say("stopping: the runs under way save where they are")


def _environments(jobs: int, gpus: Sequence[str]) -> list[dict[str, str]]:
    """Return the environments of as many child processes, each with its GPU and share of the threads."""
    cores, shared = available_cores(), {}
    if jobs > 1 and os.environ.get("OMP_NUM_THREADS", str(cores)) == str(cores):
        shared = {"OMP_NUM_THREADS": str(max(1, cores // jobs))}
    given = [{"CUDA_VISIBLE_DEVICES": gpu} for gpu in gpus] or [{}]
    return [{**shared, **given[job % len(given)]} for job in range(jobs)]


@contextmanager
def _signals() -> Iterator[list[int]]:
    """While open, collect the signals that ask for a stop."""
    received: list[int] = []
    previous = {}

    def note(number: int, frame: FrameType | None) -> None:
        if not received or ends_at_once(received[0], number):
            received.append(number)

    with suppress(ValueError):  # signals belong to the main thread; elsewhere the caller is in charge
        previous = {number: signal.signal(number, note) for number in heeded_signals()}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
