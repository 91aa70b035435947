"""Checkpoints: killed at every line of a save and at random moments, damaged at random bytes, kept as is asked."""

from __future__ import annotations

import mmap
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from directions import note_directions
from killed import killed_at, lines_of
from torch import nn

from ganzoo import api
from ganzoo.errors import CheckpointError, OutputError
from ganzoo.recipe.model import CheckpointOptions, Recipe
from ganzoo.registry.hookspecs import hookimpl
from ganzoo.registry.plugin_manager import PluginManager
from ganzoo.sampling.trained_run import TrainedRun
from ganzoo.storage import checkpoint, manifest
from ganzoo.storage import disk as files
from ganzoo.storage.checkpoint import (
    checkpoint_folders,
    checkpoint_step,
    latest_checkpoint,
    open_checkpoint,
    superseded,
)
from ganzoo.training import checkpointing
from ganzoo.training.build import build_run
from ganzoo.training.checkpointing import save_checkpoint
from ganzoo.training.run import Run

TRACED = {checkpoint.__file__, files.__file__, manifest.__file__, shutil.__file__}
"""Where every line is a moment to be killed at."""

RANDOM_KILLS = 50
FLIPS = 100
SEED = 20240601
Tables = dict[str, Any]

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are killed as POSIX has it")


def silent(text: str) -> None:
    raise AssertionError(f"unexpected warning: {text}")


def steps_in(folder: Path) -> list[int]:
    return [checkpoint_step(path) for path in checkpoint_folders(folder)]


@pytest.fixture
def run(tables: Tables, parse: Callable[..., Recipe], manager: PluginManager) -> Run:
    """A run at step 9, with checkpoints of steps 3 and 6."""
    tables["trainer"]["ema_decay"] = 0.9
    run = build_run(parse(tables), manager, warn=silent)
    for step in (3, 6):
        run.trainer.train_step(run.loader.next())
        run.step = step
        save_checkpoint(run)
    run.trainer.train_step(run.loader.next())
    run.step = 9
    return run


def kill_at_every_line(run: Run) -> Iterator[None]:
    """Save the run in a process that is killed: once when each line is first reached, and once when it is last."""
    folder = run.directory.checkpoints
    before = folder.with_name("before")
    folder.rename(before)

    def reset() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(before, folder)

    reset()
    events = lines_of(lambda: save_checkpoint(run), TRACED)
    first = {line: number for number, line in reversed(list(enumerate(events)))}
    last = {line: number for number, line in enumerate(events)}
    moments = sorted({*first.values(), *last.values()})
    assert len(moments) > 100
    for moment in moments:
        reset()
        assert killed_at(moment, lambda: save_checkpoint(run), TRACED) == -signal.SIGKILL
        yield
    reset()


@needs_fork
@pytest.mark.slow
def test_killed_at_every_line_of_a_save(run: Run):
    """Whatever has the name of a checkpoint is whole; there are always two; what is left over goes with the next."""
    folder = run.directory.checkpoints
    seen = set()
    for _ in kill_at_every_line(run):
        found = steps_in(folder)
        assert all(open_checkpoint(path).step == checkpoint_step(path) for path in checkpoint_folders(folder))
        seen.add(tuple(found))
    assert seen == {(3, 6), (3, 6, 9), (6, 9)}
    (folder / ".step_0000003.old.partial").mkdir()
    (folder / ".step_0000009.partial").mkdir()
    save_checkpoint(run)
    assert sorted(path.name for path in folder.iterdir()) == ["step_0000006", "step_0000009"]


@needs_fork
@pytest.mark.slow
def test_killed_at_every_line_of_a_save_in_the_place_of_a_damaged_one(run: Run):
    """A run that was resumed from before a damaged checkpoint comes to its step again."""
    folder = run.directory.checkpoints
    run.step = 6
    (folder / "step_0000006/state.pt").write_bytes(b"damaged")
    seen = set()
    for _ in kill_at_every_line(run):
        seen.add(latest_checkpoint(folder, lambda text: None).step)
        assert open_checkpoint(folder / "step_0000003").step == 3
    assert seen == {3, 6}


@pytest.mark.slow
@needs_fork
def test_killed_at_random_moments_within_saves(run: Run):
    """A process that saves without a pause, killed from outside; a moment between two saves does not count."""
    folder = run.directory.checkpoints
    moments, within = random.Random(SEED), mmap.mmap(-1, 2)

    def save_for_ever() -> None:
        while True:
            run.step += 1
            within[0] = 1
            save_checkpoint(run)
            within[0] = 0
            within[1] = 1  # one is done, the next is under way

    kills = halves = 0
    while kills < RANDOM_KILLS:
        within[:] = b"\0\0"
        run.step = max(steps_in(folder))
        child = os.fork()
        if not child:
            try:
                save_for_ever()
            finally:
                os._exit(1)
        while not within[1]:
            time.sleep(0.001)
        time.sleep(moments.uniform(0, 0.05))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        kills += within[0]
        halves += any(path.name.startswith(".") for path in folder.iterdir())
        found = steps_in(folder)
        assert len(found) in (2, 3)
        assert all(open_checkpoint(path).step == checkpoint_step(path) for path in checkpoint_folders(folder))
        assert latest_checkpoint(folder, silent).step == found[-1]
    assert halves > RANDOM_KILLS / 2


def test_everything_is_on_the_disk_before_it_has_its_name(run: Run, monkeypatch: pytest.MonkeyPatch):
    """A power cut takes what the system has not written yet: files and their names are flushed, then renamed."""
    happened: list[tuple[str, str]] = []
    fsync, replace = os.fsync, Path.replace

    def note_fsync(descriptor: int) -> None:
        happened.append(("flushed", Path(f"/proc/self/fd/{descriptor}").resolve().name))
        fsync(descriptor)

    def note_replace(path: Path, target: Path) -> Path:
        happened.append(("named", Path(target).name))
        return replace(path, target)

    if not Path("/proc/self/fd").exists():
        pytest.skip("descriptors are looked up as Linux has it")
    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(Path, "replace", note_replace)
    path = save_checkpoint(run)
    named = happened.index(("named", path.name))
    flushed = {name for kind, name in happened[:named] if kind == "flushed"}
    assert flushed == {*(file.name for file in path.iterdir()), f".{path.name}.partial"}
    assert happened[named + 1] == ("flushed", "checkpoints")
    assert ("named", ".step_0000003.old.partial") in happened[named + 2 :]


def flip(path: Path, place: int, change: int) -> None:
    with path.open("r+b") as file:
        file.seek(place)
        (byte,) = file.read(1)
        file.seek(place)
        file.write(bytes([byte ^ change]))


@pytest.fixture
def trained(tables: Tables) -> TrainedRun:
    tables["trainer"]["ema_decay"] = 0.9
    return api.run(tables)


def test_a_changed_byte_anywhere_is_noticed(trained: TrainedRun):
    """100 random places of each file, each with a random change."""
    newest, chance = trained.checkpoint.path, random.Random(SEED)
    tried = 0
    for file in sorted(newest.iterdir()):
        for _ in range(FLIPS):
            place, change = chance.randrange(file.stat().st_size), chance.randrange(1, 256)
            flip(file, place, change)
            with pytest.raises(CheckpointError) as caught:
                open_checkpoint(newest)
            assert str(caught.value).startswith(f"{file}: "), (file.name, place, change)
            flip(file, place, change)
            tried += 1
    assert tried == 5 * FLIPS
    assert open_checkpoint(newest).step == 6


@pytest.mark.parametrize(
    "name",
    ["generator.safetensors", "generator_ema.safetensors", "discriminator.safetensors", "state.pt", "manifest.json"],
)
def test_the_checkpoint_before_a_damaged_one_is_used(
    trained: TrainedRun, capsys: pytest.CaptureFixture[str], name: str
):
    file = trained.checkpoint.path / name
    content = {path.name: path.read_bytes() for path in trained.checkpoint.path.glob("*.safetensors")}
    flip(file, file.stat().st_size // 3, 4)
    capsys.readouterr()
    assert api.load_run(trained.path).checkpoint.step == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: {file}: ")
    assert line.endswith("; the checkpoint of step 3 is taken instead")
    api.resume(trained.path)
    assert f"\n{line}\n" in f"\n{capsys.readouterr().err}"
    assert {path.name: path.read_bytes() for path in trained.checkpoint.path.glob("*.safetensors")} == content


def test_checkpoints_of_steps_that_are_taken_again_do_not_crowd_out_new_ones(trained: TrainedRun):
    """The damaged one of step 6 would be among the two latest, and leave a single whole one."""
    folder = trained.directory.checkpoints
    flip(folder / "step_0000006/state.pt", 100, 1)
    after_each: dict[int, list[int]] = {}

    class Looking:
        @hookimpl
        def checkpoint_saved(self, step: int) -> None:
            after_each[step] = steps_in(folder)

    manager = PluginManager()
    manager.pluggy.register(Looking())
    api.resume(trained.path, ["checkpoint.every=1"], manager=manager)
    assert after_each == {4: [3, 4], 5: [4, 5], 6: [5, 6]}


@pytest.mark.parametrize(
    ("options", "spared", "kept"),
    [
        ({}, [], [90, 100]),
        ({"keep": 3}, [], [80, 90, 100]),
        ({"keep_every": 3}, [], [30, 60, 90, 100]),
        ({"keep_every": 1}, [], [10, 20, 30, 40, 50, 60, 70, 80, 90, 100]),
        ({"keep_every": 4, "keep": 4}, [], [40, 70, 80, 90, 100]),
        ({}, [20], [20, 90, 100]),
        ({"keep_every": 5}, [20, 100], [20, 50, 90, 100]),
    ],
)
def test_which_are_kept(tmp_path: Path, options: Tables, spared: list[int], kept: list[int]):
    folders = [tmp_path / f"step_{step:07d}" for step in range(10, 130, 10)]
    gone = superseded(folders, 100, CheckpointOptions(every=10, **options), spared)
    assert [checkpoint_step(path) for path in folders if path not in gone] == kept


def test_keep_every_in_a_run(tables: Tables):
    tables["run"]["steps"] = 9
    tables["checkpoint"] = {"every": 1, "keep_every": 4}
    run = api.run(tables)
    assert steps_in(run.directory.checkpoints) == [4, 8, 9]
    assert steps_in(api.resume(run.path, ["run.steps=14"]).directory.checkpoints) == [4, 8, 12, 13, 14]


class Scoring:
    """Fires a score after some steps."""

    def __init__(self, name: str, values: dict[int, float], late: int = 0) -> None:
        self.name = name
        self.values = values
        self.late = late

    @hookimpl(trylast=True)
    def step_ended(self, run: Run, step: int) -> None:
        if step - self.late in self.values:
            note_directions(run.directory, fd_classifier="lower", recall_classifier="higher", copies="none")
            scores = {self.name: self.values[step - self.late], "another": 1.0}
            run.fire("metrics_evaluated", step=step - self.late, scores=scores)


def scored(tables: Tables, *observers: object, resumed: Path | None = None, steps: int = 12) -> TrainedRun:
    manager = PluginManager()
    for observer in observers:
        manager.pluggy.register(observer)
    if resumed:
        return api.resume(resumed, [f"run.steps={steps}"], manager=manager)
    return api.run(tables, [f"run.steps={steps}"], manager=manager)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "values", "kept"),
    [
        ("fd_classifier", {2: 9.0, 4: 3.0, 7: 5.0}, [4, 11, 12]),  # a distance: the lowest is the best
        ("recall_classifier", {2: 0.5, 4: 0.3, 7: 0.4}, [2, 11, 12]),  # the highest is
        ("copies", {2: 0.5, 4: 0.3, 7: 0.4}, [11, 12]),  # none is
        ("fd_classifier", {2: 9.0, 4: float("nan"), 7: 9.0}, [2, 11, 12]),
        ("fd_classifier", {12: 1.0}, [11, 12]),
    ],
)
def test_the_best_is_kept(tables: Tables, name: str, values: dict[int, float], kept: list[int]):
    tables["checkpoint"] = {"every": 11, "best": name}
    run = scored(tables, Scoring(name, values))
    assert steps_in(run.directory.checkpoints) == kept


@pytest.mark.slow
def test_the_best_so_far_is_known_to_a_resumed_run(tables: Tables):
    tables["checkpoint"] = {"every": 4, "best": "fd_classifier"}
    run = scored(tables, Scoring("fd_classifier", {2: 2.0, 3: 5.0}))
    assert steps_in(run.directory.checkpoints) == [2, 8, 12]
    scored(tables, Scoring("fd_classifier", {15: 4.0}), resumed=run.path, steps=20)
    assert steps_in(run.directory.checkpoints) == [2, 16, 20]
    scored(tables, Scoring("fd_classifier", {23: 1.0}), resumed=run.path, steps=28)
    assert steps_in(run.directory.checkpoints) == [23, 24, 28]


class Saved:
    """Keeps the steps of the checkpoints that observers are told of."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    @hookimpl
    def checkpoint_saved(self, step: int) -> None:
        self.steps.append(step)


def test_the_best_step_that_is_also_the_last_is_saved_once(tables: Tables):
    tables["checkpoint"] = {"every": 11, "best": "fd_classifier"}
    saved = Saved()
    scored(tables, Scoring("fd_classifier", {12: 1.0}), saved)
    assert saved.steps == [11, 12]


def test_a_score_that_comes_late_keeps_what_is_there(tables: Tables):
    tables["checkpoint"] = {"every": 2, "best": "fd_classifier"}
    run = scored(tables, Scoring("fd_classifier", {4: 2.0, 3: 1.0}, late=1))  # nothing was saved at step 3
    assert steps_in(run.directory.checkpoints) == [4, 10, 12]
    scored(tables, Scoring("fd_classifier", {15: 1.5}), resumed=run.path, steps=20)
    assert steps_in(run.directory.checkpoints) == [15, 18, 20]


def test_a_score_that_never_comes_is_told(tables: Tables, capsys: pytest.CaptureFixture[str]):
    tables["checkpoint"] = {"every": 2, "best": "fd_clasifier"}
    run = scored(tables, Scoring("fd_classifier", {4: 2.0}))
    assert steps_in(run.directory.checkpoints) == [10, 12]
    assert 'warning: checkpoint.best: no score "fd_clasifier" was evaluated in this run' in capsys.readouterr().err


def test_weights_that_two_layers_share(tables: Tables, manager: PluginManager, parse: Callable[..., Recipe]):
    run = build_run(parse(tables), manager, warn=silent)
    flat = torch.randn(8)
    run.trainer.parts.discriminator.first = nn.Linear(2, 2, bias=False)
    run.trainer.parts.discriminator.second = nn.Linear(2, 2, bias=False)
    run.trainer.parts.discriminator.second.weight = run.trainer.parts.discriminator.first.weight
    run.trainer.parts.discriminator.register_buffer("left", flat[:4])
    run.trainer.parts.discriminator.register_buffer("right", flat[4:])
    run.step = 1
    saved = open_checkpoint(save_checkpoint(run)).network("discriminator")
    assert torch.equal(saved["first.weight"], saved["second.weight"])
    assert torch.equal(torch.cat([saved["left"], saved["right"]]), flat)


def test_a_state_that_cannot_be_written_ends_the_run(tables: Tables, monkeypatch: pytest.MonkeyPatch):
    """Going on with a warning would be going on without checkpoints."""

    def fail(*arguments: object, **options: object) -> None:
        raise ValueError("no such luck")

    monkeypatch.setattr(checkpointing, "write_checkpoint", fail)
    with pytest.raises(OutputError, match="the checkpoint of step 3 cannot be written: ValueError: no such luck"):
        api.run(tables)
