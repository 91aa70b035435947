"""Disks that refuse what a run can do without, and checkpoints that cannot be read now: no run is lost to either."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ganzoo import api
from ganzoo.components.spec import DatasetInfo, ImageSpec, LabelSpec
from ganzoo.errors import OutputError, RequestError, UnreadableCheckpointError
from ganzoo.recipe.model import Recipe
from ganzoo.registry.plugin_manager import PluginManager
from ganzoo.sampling.trained_run import TrainedRun
from ganzoo.storage.checkpoint import checkpoint_folders, checkpoint_step, open_checkpoint, write_checkpoint
from ganzoo.storage.manifest import LARGEST
from ganzoo.terminal import warn_once
from ganzoo.training.build import build_run
from ganzoo.training.checkpointing import check_room_for_run, save_checkpoint

Tables = dict[str, Any]
Refuse = Callable[[str, int, Callable[[Any], bool]], None]


@pytest.fixture(autouse=True)
def _told_anew() -> None:
    warn_once.cache_clear()


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch) -> Refuse:
    """Let a function of the system refuse some files: `refuse("open", errno.EIO, lambda path: …)`."""

    def patch(name: str, number: int, of: Callable[[Any], bool]) -> None:
        before = getattr(os, name)

        def refusing(path: Any, *arguments: Any, **options: Any) -> Any:
            if of(path):
                raise OSError(number, os.strerror(number))
            return before(path, *arguments, **options)

        monkeypatch.setattr(os, name, refusing)

    return patch


@pytest.fixture
def trained(tables: Tables) -> TrainedRun:
    return api.run(tables)


def steps_in(run: TrainedRun) -> list[int]:
    return [checkpoint_step(path) for path in checkpoint_folders(run.directory.checkpoints)]


def files_of(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")}


def warnings(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]


def info_of(names: int, length: int = 20) -> DatasetInfo:
    return DatasetInfo(ImageSpec(16, 16, 1), LabelSpec("classes", tuple(f"{i:0{length}d}" for i in range(names))))


def test_old_checkpoints_that_cannot_be_removed(
    tables: Tables, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def fail(path: Path) -> None:
        raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY))  # NFS keeps .nfs… of files that others have open

    tables["checkpoint"] = {"every": 1}
    monkeypatch.setattr("ganzoo.storage.checkpoint.shutil.rmtree", fail)
    run = api.run(tables)
    assert steps_in(run) == [5, 6]
    (line,) = warnings(capsys)
    assert f"{run.directory.checkpoints}: old checkpoints cannot be removed (Directory not empty)" in line
    assert len(list(run.directory.checkpoints.glob(".*"))) == 4
    monkeypatch.undo()
    api.resume(run.path, {"run.steps": 7, "checkpoint.every": 1})
    assert sorted(path.name for path in run.directory.checkpoints.iterdir()) == ["step_0000006", "step_0000007"]


def test_old_checkpoints_that_cannot_even_be_renamed(
    tables: Tables, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    replace = Path.replace

    def fail(path: Path, target: Path) -> Path:
        if str(target).endswith(".old.partial"):
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        return replace(path, target)

    tables["checkpoint"] = {"every": 1}
    monkeypatch.setattr(Path, "replace", fail)
    run = api.run(tables)
    assert steps_in(run) == [1, 2, 3, 4, 5, 6]
    assert len(warnings(capsys)) == 1


@pytest.mark.parametrize(("number", "files"), [(errno.EINVAL, True), (errno.EIO, False), (errno.EACCES, False)])
def test_what_cannot_be_flushed(
    tables: Tables, refuse: Refuse, capsys: pytest.CaptureFixture[str], number: int, files: bool
):
    """As on some file systems of FUSE; a folder's entries are in order then, only a power cut may cost them."""
    refuse("fsync", number, lambda file: files or Path(f"/proc/self/fd/{file}").is_dir())
    run = api.run(tables)
    assert run.checkpoint.step == 6
    told = [line for line in warnings(capsys) if "cannot be flushed to the disk" in line]
    assert len(told) == 1 + files


def test_a_file_that_cannot_be_flushed_ends_the_run(tables: Tables, refuse: Refuse):
    refuse("fsync", errno.EIO, lambda file: not Path(f"/proc/self/fd/{file}").is_dir())
    with pytest.raises(OutputError, match="cannot be written: Input/output error"):
        api.run(tables)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE])
@pytest.mark.parametrize("what", ["checkpoints", "state.pt", "manifest.json"])
def test_checkpoints_that_cannot_be_read_are_not_none(
    trained: TrainedRun, refuse: Refuse, monkeypatch: pytest.MonkeyPatch, number: int, what: str
):
    """To begin at an older step, or at 0, would delete rows, grids and newer checkpoints."""
    path = trained.directory.checkpoints if what == "checkpoints" else trained.checkpoint.path / what
    before = files_of(trained.path)
    for name in ("listdir", "scandir", "open"):
        refuse(name, number, lambda opened: opened == path or opened == str(path))
    with pytest.raises(UnreadableCheckpointError, match=f"^{path}: cannot be read: .* make it readable"):
        api.resume(trained.path, {"run.steps": 8})
    monkeypatch.undo()
    assert {
        each: each.read_bytes() for each in trained.path.rglob("*") if each.is_file() and each.name[0] != "."
    } == before
    assert api.resume(trained.path, {"run.steps": 8}).checkpoint.step == 8


@pytest.mark.parametrize("every", [3, 100])
def test_a_run_without_its_checkpoints_does_not_begin_anew(tables: Tables, every: int):
    """Also where none was due before the last step."""
    tables["checkpoint"] = {"every": every}
    run = api.run(tables).path
    metrics = (run / "metrics.jsonl").read_bytes()
    for left in ("an empty folder", "none"):
        shutil.rmtree(run / "checkpoints")
        if left == "an empty folder":
            (run / "checkpoints").mkdir()
        with pytest.raises(RequestError, match=f"no checkpoint: .*put them back.*ganzoo run {run}/recipe.toml"):
            api.resume(run, {"run.steps": 8})
    assert (run / "metrics.jsonl").read_bytes() == metrics


def test_as_many_names_as_fit_can_be_read(tmp_path: Path):
    info = info_of(240_000)
    path = write_checkpoint(tmp_path, 1, {}, info=info, plugin_versions={})
    assert (path / "manifest.json").stat().st_size > 4 * 2**20
    assert open_checkpoint(path).info == info


@pytest.mark.slow
def test_more_names_are_refused_before_training(tables: Tables, parse: Callable[..., Recipe], manager: PluginManager):
    run = build_run(parse(tables), manager, warn=print)
    check_room_for_run(run.recipe, run.trainer, info_of(240_000), 6)
    with pytest.raises(RequestError, match=r"dataset: the names of its labels take .* MiB, .* dataset\.classes"):
        check_room_for_run(run.recipe, run.trainer, info_of(240_000, 70), 6)
    with pytest.raises(OutputError, match=rf"and {LARGEST} are read: shorten the names"):
        write_checkpoint(run.directory.checkpoints, 1, {}, info=info_of(240_000, 70), plugin_versions={})
    assert list(run.directory.checkpoints.iterdir()) == []


class Secret:
    """An object that `torch.save` writes, and nothing reads without running its code."""


def test_a_state_that_does_not_open_again_is_told_when_it_is_written(
    tables: Tables, parse: Callable[..., Recipe], manager: PluginManager, monkeypatch: pytest.MonkeyPatch
):
    run = build_run(parse(tables), manager, warn=print)
    run.step = 1
    save_checkpoint(run)
    run.step = 2
    monkeypatch.setattr(type(run.trainer), "state_dict", lambda self: {"mine": Secret()})
    with pytest.raises(OutputError, match=r"step 2 was written and does not open again: .*state\.pt.*Secret"):
        save_checkpoint(run)
    assert [path.name for path in run.directory.checkpoints.iterdir()] == ["step_0000001"]
