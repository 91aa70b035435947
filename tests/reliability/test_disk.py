"""A disk that is full, read-only or of no use: said clearly, before the start where that can be known."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ganzoo import api
from ganzoo.errors import OutputError
from ganzoo.registry.hookspecs import hookimpl
from ganzoo.registry.plugin_manager import PluginManager
from ganzoo.storage import checkpoint
from ganzoo.storage.checkpoint import latest_checkpoint
from ganzoo.training import build
from ganzoo.training import checkpointing as space


class Disk:
    """A file system of its own, as small as it is asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.filler = path / "filler"

    def remount(self, options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", str(self.path)], check=True)

    def fill(self, left: int = 0) -> None:
        """Take all room but `left` bytes."""
        with self.filler.open("wb") as file:
            file.write(b"x" * max(0, shutil.disk_usage(self.path).free - left))


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[[str], Disk]]:
    """Mount a tmpfs with these options; whoever may not is left out."""
    disks: list[Disk] = []

    def mount(options: str) -> Disk:
        path = tmp_path / f"disk{len(disks)}"
        path.mkdir()
        if not hasattr(os, "geteuid") or os.geteuid() or shutil.which("mount") is None:
            pytest.skip("only root can mount a small disk")
        ended = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)], capture_output=True)
        if ended.returncode:
            pytest.skip(f"a small disk cannot be mounted here: {ended.stderr.decode().strip()}")
        disks.append(Disk(path))
        return disks[-1]

    yield mount
    for disk in disks:
        subprocess.run(["umount", "-l", str(disk.path)], check=True)


def at_step(number: int, act: Callable[[], object]) -> PluginManager:
    """The plugins, and one that does something after a step, before any other hears of it."""

    class Acting:
        @hookimpl
        def step_ended(self, step: int) -> None:
            if step == number:
                act()

    manager = PluginManager()
    manager.pluggy.register(Acting())
    return manager


def on(disk: Disk, tables: dict) -> dict:
    tables["run"]["root"] = str(disk.path / "runs")
    return tables


def checkpoints(disk: Disk) -> Path:
    return disk.path / "runs/tiny/0001/checkpoints"


def test_run_that_will_not_fit_is_not_begun(
    mounted: Callable[[str], Disk], tables: dict, recipe_file: Any, command: Any
):
    disk = mounted("size=256k")
    ended = command("run", recipe_file(on(disk, tables)))
    assert ended.code == 1
    (line,) = (line for line in ended.err.splitlines() if line.startswith("error: "))
    assert f"error: {disk.path}/runs/tiny: the disk is full: a run with 2 checkpoints of " in line
    assert " needs about " in line
    assert "256.0 KiB are free: make room there, set run.root to a folder on a larger disk, or keep fewer" in line
    assert list(disk.path.iterdir()) == []


@pytest.mark.parametrize(
    "kept",
    [{}, {"keep": 1000}, {"keep_every": 1}, {"keep": 3, "keep_every": 2}],
    ids=["latest", "more than there are", "all", "every second"],
)
def test_estimate_is_near_what_a_run_takes(tables: dict, monkeypatch: pytest.MonkeyPatch, kept: dict):
    asked: list[int] = []
    monkeypatch.setattr(space, "check_room", lambda path, needed, what, cure: asked.append(needed))
    tables["run"]["steps"] = 9
    tables["checkpoint"] = {"every": 1, **kept}
    run = api.run(tables, ["generator.width=32", "discriminator.width=32"])
    taken = sum(file.stat().st_size for file in run.path.rglob("*") if file.is_file())
    assert taken < asked[0] < 2 * taken  # one checkpoint more than is kept, so that three fit while one is written


def test_a_run_of_too_many_grids_says_so(tables: dict):
    """Grids take most of the room of a long run that makes one every few steps."""
    tables["run"]["steps"] = 10**12
    tables["samples"] |= {"every": 5, "count": 64}
    with pytest.raises(OutputError, match=r"with 2 checkpoints of .* and 200000000000 grids of 24\.0 KiB needs about"):
        api.run(tables)
    tables["checkpoint"] |= {"every": 2, "keep_every": 10**9, "best": "fd_classifier"}
    tables["evaluation"] = {"every": 4}
    with pytest.raises(OutputError, match=r"with 502 checkpoints of .* or keep fewer of them by samples\.every"):
        api.run(tables)


def test_room_is_asked_for_before_a_checkpoint_is_written(
    mounted: Callable[[str], Disk], tables: dict, recipe_file: Any, command: Any, monkeypatch: pytest.MonkeyPatch
):
    disk = mounted("size=2m")
    on(disk, tables)
    manager = at_step(4, lambda: disk.fill(left=20_000))
    monkeypatch.setattr(checkpoint, "write_tensors", guarded(checkpoint.write_tensors, disk))
    with pytest.raises(OutputError) as caught:
        api.run(tables, manager=manager)
    assert caught.value.exit_code == 1
    assert str(caught.value).startswith(f"{checkpoints(disk) / 'step_0000006'}: the disk is full: the checkpoint needs")
    assert [path.name for path in checkpoints(disk).iterdir()] == ["step_0000003"]
    assert api.load_run(checkpoints(disk).parent).checkpoint.step == 3
    disk.filler.unlink()
    ended = command("resume", checkpoints(disk).parent)
    assert ended.code == 0, ended.err
    assert latest_checkpoint(checkpoints(disk), pytest.fail).step == 6


def guarded(write: Callable[..., None], disk: Disk) -> Callable[..., None]:
    def only_with_room(*arguments: Any) -> None:
        assert not disk.filler.exists(), "a checkpoint was begun for which there is no room"
        write(*arguments)

    return only_with_room


@pytest.mark.parametrize("left", [12_000, 40_000], ids=["within the weights", "within the state"])
def test_disk_that_fills_up_after_it_was_asked(
    mounted: Callable[[str], Disk], tables: dict, monkeypatch: pytest.MonkeyPatch, left: int
):
    disk = mounted("size=2m")
    on(disk, tables)
    monkeypatch.setattr(checkpoint, "check_room", lambda *arguments: None)
    with pytest.raises(OutputError, match=r"checkpoints.*: the disk is full: make room there, then `ganzoo resume`"):
        api.run(tables, manager=at_step(5, lambda: disk.fill(left)))
    assert [path.name for path in checkpoints(disk).iterdir()] == ["step_0000003"]
    assert api.load_run(checkpoints(disk).parent).sample(2).shape == (2, 3, 16, 16)


def test_metrics_that_do_not_fit_end_the_run(mounted: Callable[[str], Disk], tables: dict):
    disk = mounted("size=2m")
    tables["checkpoint"]["every"] = 1
    with pytest.raises(OutputError, match="the disk is full") as caught:
        api.run(on(disk, tables), ["run.log_every=1", "run.steps=60", "samples.every=1000"], manager=filling(disk))
    assert "metrics.jsonl" in str(caught.value) or "checkpoints" in str(caught.value)
    assert api.load_run(checkpoints(disk).parent).checkpoint.step == 3  # the fourth did not fit


def test_samples_that_do_not_fit(mounted: Callable[[str], Disk], tables: dict, tmp_path: Path, command: Any):
    tables["run"]["root"] = str(tmp_path / "runs")
    run = api.run(tables, ["run.steps=1"])
    disk = mounted("size=64k")
    ended = command("sample", run.path, "--out", disk.path / "x.npy", "--count", "100")
    assert ended.code == 1
    assert "x.npy: the disk is full: make room there, then `ganzoo resume` the run or repeat the command" in ended.err
    assert list(disk.path.iterdir()) == []


def filling(disk: Disk) -> PluginManager:
    return at_step(4, lambda: disk.fill(0))


def test_disk_without_a_place_for_another_file(
    mounted: Callable[[str], Disk], tables: dict, recipe_file: Any, command: Any
):
    disk = mounted("size=4m,nr_inodes=4")
    ended = command("run", recipe_file(on(disk, tables)))
    assert ended.code == 1
    assert "Traceback" not in ended.err
    assert "the disk is full" in ended.err


def test_read_only_disk_is_told_before_anything_is_decoded(
    mounted: Callable[[str], Disk],
    tables: dict,
    recipe_file: Any,
    command: Any,
    monkeypatch: pytest.MonkeyPatch,
):
    disk = mounted("size=2m")
    disk.remount("ro")
    monkeypatch.setattr(build, "open_dataset", lambda *arguments: pytest.fail("the dataset was opened"))
    ended = command("run", recipe_file(on(disk, tables)))
    assert ended.code == 2
    assert ended.err == (
        f"error: run.root: no run directory can be made in {disk.path}/runs/tiny: {disk.path} cannot be written to; "
        f"set run.root to a folder that can be written to\n"
    )


@pytest.mark.parametrize(
    ("root", "told"),
    [
        ("file", "is a file"),
        ("file/below", "is a file"),
        ("x" * 300, "File name too long"),
        ("/".join(["y" * 200] * 25), "File name too long"),
        ("dangling", "is a file"),
    ],
    ids=["a file", "below a file", "long name", "long path", "link to nothing"],
)
def test_place_where_no_run_can_be(
    tmp_path: Path, tables: dict, recipe_file: Any, command: Any, monkeypatch: pytest.MonkeyPatch, root: str, told: str
):
    (tmp_path / "file").write_text("")
    (tmp_path / "dangling").symlink_to(tmp_path / "gone" / "further")
    tables["run"]["root"] = str(tmp_path / root)
    monkeypatch.setattr(build, "open_dataset", lambda *arguments: pytest.fail("the dataset was opened"))
    ended = command("run", recipe_file(tables))
    assert ended.code == 2
    assert "error: run.root: no run directory can be made in " in ended.err
    assert told in ended.err
    assert "Traceback" not in ended.err
