"""Machines that several people use: files for all whom the umask lets read, users without a home, folders to read."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import Ended
from ganzoo_export import export_run
from ganzoo_metrics.weights import downloaded
from permissions import heeded_permissions

import ganzoo
from ganzoo.data.packed_dataset import cache_folder
from ganzoo.errors import DataError, OutputError, RunDirectoryError
from ganzoo.evaluation import evaluation_log
from ganzoo.storage.disk import expand_user, write_atomic
from ganzoo.storage.run_directory import run_lock

Tables = dict[str, Any]
Command = Callable[..., Ended]

needs_posix = pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")


@pytest.fixture(params=[0o002, 0o022, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@pytest.mark.slow
@needs_posix
def test_everything_has_the_permissions_that_the_umask_leaves(
    tables: Tables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, umask: int
):
    """Packs, features, classifiers and weights; the run of another can be sampled, a shared cache be used."""
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path / "cache"))
    tables["dataset"] = {"name": "digits", "image_size": 16}
    run = ganzoo.run(tables)
    ganzoo.evaluate(run, 64)
    export_run(run, tmp_path / "export")
    written = [path for place in (run.path, tmp_path / "cache", tmp_path / "export") for path in place.rglob("*")]
    kinds = {path.suffix for path in written if path.is_file()}
    assert kinds >= {".safetensors", ".pt", ".json", ".jsonl", ".toml", ".png", ".npy", ".md"}
    places = {path.parent.name for path in written}
    assert places >= {"packs", "features", "classifiers", "checkpoints", "samples"}
    for path in written:
        expected = (0o777 if path.is_dir() else 0o666) & ~umask
        assert stat.S_IMODE(path.stat().st_mode) == expected, path


@needs_posix
def test_a_file_system_without_permissions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(path: Path, mode: int) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    def replace_by_private(path: Path) -> None:
        path.unlink()
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))

    monkeypatch.setattr(Path, "chmod", refuse)
    write_atomic(tmp_path / "file", replace_by_private)
    assert (tmp_path / "file").is_file()


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user of whom the system knows no name and no home, as in many a container."""
    pwd = pytest.importorskip("pwd")

    def unknown(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)


def test_without_a_home(homeless: None, monkeypatch: pytest.MonkeyPatch, tables: Tables):
    assert ganzoo.run(tables).checkpoint.step == 6
    monkeypatch.delenv("GANZOO_CACHE")
    with pytest.raises(DataError, match=r"~/.cache/ganzoo: there is no such home folder: set GANZOO_CACHE to a folder"):
        ganzoo.run(tables)
    monkeypatch.delenv("TORCH_HOME", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    with pytest.raises(DataError, match=r"there is no such home folder: set TORCH_HOME .* or evaluation\.weights"):
        downloaded("https://example.org/weights.pth", "the weights", "evaluation.weights", "00")


def test_runs_below_the_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tables: Tables):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    tables["run"]["root"] = "~/runs"
    run = ganzoo.run(tables, ["run.steps=1"])
    assert run.path == tmp_path / "home/runs/tiny/0001"
    again = ganzoo.run(tables, ["run.steps=1", "init.from=~/runs/tiny/0001"])
    assert again.path == tmp_path / "home/runs/tiny/0002"
    swept = ganzoo.sweep(tables, {"loss.name": ["hinge"]}, overrides=["run.steps=1"])
    assert swept.path == tmp_path / "home/runs/tiny-sweep"
    assert not (tmp_path / "~").exists()


def test_homes_of_nobody(monkeypatch: pytest.MonkeyPatch, tables: Tables):
    assert expand_user("~nobody-of-this-name/faces") == Path("~nobody-of-this-name/faces")
    tables["dataset"] = {"name": "image_folder", "image_size": 16, "root": "~nobody-of-this-name/faces"}
    with pytest.raises(DataError, match="~nobody-of-this-name/faces"):
        ganzoo.run(tables)
    monkeypatch.setenv("GANZOO_CACHE", "~nobody-of-this-name/cache")
    with pytest.raises(DataError, match="~nobody-of-this-name/cache: there is no such home folder"):
        cache_folder()


@pytest.mark.slow
def test_scores_of_a_run_that_may_only_be_read(
    tables: Tables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command
):
    class ReadOnly:
        def __init__(self, path: Path) -> None:
            self.path = path

        def __enter__(self) -> None:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(self.path))

        def __exit__(self, *exception: object) -> None:
            """Never reached."""

    run = ganzoo.run(tables)
    (run.path / "evaluation.json").write_text("damaged")
    monkeypatch.setattr(evaluation_log, "FileLock", ReadOnly)
    ended = command("evaluate", run.path, "--samples", "64")
    assert ended.code == 0
    assert "diversity: " in ended.out
    assert f"warning: the scores are not kept: {run.path}/evaluation.json: cannot be written: Read-only" in ended.err
    assert "give --out scores.json" in ended.err

    out = tmp_path / "scores.json"
    ended = command("evaluate", run.path, "--samples", "64", "--out", out, "--json")
    assert ended.code == 0
    assert "warning: the scores" not in ended.err
    assert json.loads(out.read_text()) == json.loads(ended.out)["evaluations"]
    assert command("evaluate", run.path, "--out", out).code == 2
    assert (run.path / "evaluation.json").read_text() == "damaged"


@pytest.mark.parametrize("moved", [True, False], ids=["moved", "another_working_folder"])
def test_a_loaded_run_that_is_not_there_any_more(
    tables: Tables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], moved: bool
):
    """No folder is made in its place, and nothing is told of a run without metrics."""
    tables["evaluation"] = {"samples": 16, "metrics": ["diversity"]}
    monkeypatch.chdir(tmp_path)
    run = ganzoo.run(tables | {"run": tables["run"] | {"root": "runs"}}, ["run.steps=1"])
    assert len(run.metrics) > 0
    (tmp_path / "elsewhere").mkdir()
    if moved:
        run.path.rename("elsewhere/0001")
    else:
        monkeypatch.chdir(tmp_path / "elsewhere")
    capsys.readouterr()
    assert list(ganzoo.evaluate(run).scores) == ["diversity"]
    gone = "runs/tiny/0001: is not there any more"
    assert f"warning: the scores are not kept: {gone}" in capsys.readouterr().err
    for look in (run.film, lambda: run.metrics):
        with pytest.raises(RunDirectoryError, match=gone):
            look()
    with pytest.raises(OutputError, match=gone), run_lock(run.directory):
        pytest.fail("is locked")
    assert not run.path.exists()
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["0001"] * moved


@pytest.mark.parametrize("mode", [0o000, 0o444], ids=oct)
@pytest.mark.parametrize("place", [".", ".."])
@pytest.mark.parametrize("verb", ["sample", "evaluate", "resume", "compare"])
def test_a_run_that_may_not_be_read(command: Command, make_run: Callable[..., Path], verb: str, place: str, mode: int):
    run = make_run()
    closed = (run / place).resolve()
    closed.chmod(mode)
    with heeded_permissions():
        ended = command(verb, run, *(("--out", run / "a.png") if verb == "sample" else ()))
    closed.chmod(0o755)
    assert ended.code == 2
    assert str(run) in ended.err
    assert "Permission denied" in ended.err or "is not readable" in ended.err
    assert "Traceback" not in ended.err


def test_a_comparison_notes_runs_that_may_not_be_read(command: Command, make_run: Callable[..., Path]):
    first, second = make_run(), make_run(seed=1)
    second.chmod(0)
    with heeded_permissions():
        ended = command("compare", first.parent)
    second.chmod(0o755)
    assert ended.code == 0
    assert "1 complete" in ended.out + ended.err
    assert "0002: cannot be read: Permission denied" in " ".join((ended.out + ended.err).split())
