"""Runs that would go on with other data, other plugins, another machine: refused, or told in one line, and kept."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import ganzoo
from ganzoo.errors import RequestError
from ganzoo.registry.plugin_manager import PluginInfo, PluginManager
from ganzoo.runtime.environment import called_plugins, plugin_code
from ganzoo.sampling.trained_run import TrainedRun
from ganzoo.storage.run_directory import RunDirectory
from ganzoo.sweeps import child_processes, run_sweep
from ganzoo.sweeps.child_processes import Job, outcome
from ganzoo.sweeps.directory import Member, SweepDirectory

Tables = dict[str, Any]
LOSS = """from ganzoo.builtin.losses import Hinge
from ganzoo.registry.hookspecs import hookimpl


class Calm(Hinge):
    'The hinge loss by another name.'


@hookimpl
def register_losses(register):
    register('calm', Calm)
"""
MORE = {"run.steps": 8}
HOSTILE = '{"data": {"samples": "\\u001b[2J"}, "plugin_code": {}}'
REFUSED = "would go on with others than it was trained with:"


@pytest.fixture
def folder(tables: Tables, tmp_path: Path) -> Path:
    """A folder of eight images in two classes, which the recipe trains on."""
    for number in range(8):
        place = tmp_path / "faces" / f"class{number % 2}"
        place.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(place / f"{number}.png")
    tables["dataset"] = {"name": "image_folder", "root": str(tmp_path / "faces"), "image_size": 16}
    tables["trainer"]["batch_size"] = 4
    return tmp_path / "faces"


def content(run: TrainedRun) -> dict[str, bytes]:
    files = (path for path in run.path.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {path.relative_to(run.path).as_posix(): path.read_bytes() for path in files}


def environment(run: TrainedRun) -> dict[str, Any]:
    return json.loads((run.path / "environment.json").read_text())


def told(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]


def replace_one(folder: Path) -> None:
    Image.new("RGB", (16, 16)).save(folder / "class0/0.png")


def remove_half(folder: Path) -> None:
    for number in (0, 1, 2, 3):
        (folder / f"class{number % 2}/{number}.png").unlink()


def swap_labels(folder: Path) -> None:
    """Of all: the same images in the same order have the other class."""
    (folder / "class0").rename(folder / "b")
    (folder / "class1").rename(folder / "class0")
    (folder / "b").rename(folder / "class1")


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (replace_one, r"checksum crc32:\w{8} \(before crc32:\w{8}\)"),
        (remove_half, r"samples 4 \(before 8\), checksum"),
        (swap_labels, "checksum"),
    ],
)
def test_other_images(
    tables: Tables, folder: Path, capsys: pytest.CaptureFixture[str], change: Callable[[Path], None], what: str
):
    run = ganzoo.run(tables)
    change(folder)
    before = content(run)
    with pytest.raises(RequestError, match=rf"{REFUSED}\n  the dataset has changed: {what}.*\n.*--accept-changes"):
        ganzoo.resume(run.path, MORE)
    assert content(run) == before
    capsys.readouterr()
    assert ganzoo.resume(run.path, MORE, accept_changes=True).checkpoint.step == 8
    (line,) = told(capsys)
    assert line.endswith("; accepted, and the run can no longer be repeated from its recipe")
    now = environment(run)
    (earlier,) = now["history"]
    assert (earlier["from_step"], now["from_step"]) == (0, 6)
    assert earlier["data"] != now["data"]
    capsys.readouterr()
    ganzoo.resume(run.path, {"run.steps": 10})  # what was accepted is what the run is of now
    assert told(capsys) == []


def test_other_labels_of_the_same_images(tables: Tables, folder: Path):
    tables["dataset"]["labels"] = "dataset.json"
    (folder / "dataset.json").write_text(
        json.dumps({"labels": [[f"class{number % 2}/{number}.png", number % 2] for number in range(8)]})
    )
    run = ganzoo.run(tables)
    (folder / "dataset.json").write_text(
        json.dumps({"labels": [[f"class{number % 2}/{number}.png", number % 3 % 2] for number in range(8)]})
    )
    with pytest.raises(RequestError, match=rf"{REFUSED}\n  the dataset has changed: labels crc32:\w+ \(before"):
        ganzoo.resume(run.path, MORE)


def test_the_same_images_elsewhere_are_the_same(
    tables: Tables, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    run = ganzoo.run(tables)
    for path in folder.rglob("*.png"):
        os.utime(path, (1, 1))
    folder.rename(tmp_path / "moved")
    capsys.readouterr()
    ganzoo.resume(run.path, {**MORE, "dataset.root": str(tmp_path / "moved")})
    assert told(capsys) == []


@pytest.fixture
def plugin(tables: Tables, tmp_path: Path) -> Path:
    path = tmp_path / "calm.py"
    path.write_text(LOSS)
    tables["plugins"] = {"files": [str(path)]}
    tables["loss"] = {"name": "calm"}
    return path


def test_a_plugin_file_that_was_edited(tables: Tables, plugin: Path, capsys: pytest.CaptureFixture[str]):
    run = ganzoo.run(tables)
    kept = run.path / "plugins/calm.py"
    plugin.write_text(LOSS + "# of today\n")
    edited = PluginManager(files=[plugin])
    with pytest.raises(RequestError, match=rf"{REFUSED}\n  the plugin calm\.py has changed: sha256:\w+ \(before"):
        ganzoo.resume(run.path, MORE, manager=edited)
    assert kept.read_text() == LOSS
    capsys.readouterr()
    ganzoo.resume(run.path, MORE, manager=edited, accept_changes=True)
    assert len(told(capsys)) == 1
    assert kept.read_text() == plugin.read_text()
    ganzoo.resume(run.path, {"run.steps": 10}, trust_plugins=True)  # with the file as it was accepted
    assert [each["plugin_code"]["calm.py"] for each in environment(run)["history"]] != [
        environment(run)["plugin_code"]["calm.py"]
    ]


def test_a_plugin_package_that_was_edited(tables: Tables, monkeypatch: pytest.MonkeyPatch):
    run = ganzoo.run(tables)
    assert set(environment(run)["plugin_code"]) == {"ganzoo-core", "ganzoo-dcgan"}
    on_disk = PluginInfo.code_on_disk
    for name, refused in (("networks", False), ("dcgan", True)):
        edited = f"ganzoo-{name}"
        monkeypatch.setattr(
            PluginInfo,
            "code_on_disk",
            lambda self, edited=edited: "sha256:0" if self.distribution == edited else on_disk(self),
        )
        if refused:
            with pytest.raises(RequestError, match="the plugin ganzoo-dcgan has changed: sha256:0"):
                ganzoo.resume(run.path, {"run.steps": 10}, manager=PluginManager())
        else:  # the run has nothing of it
            ganzoo.resume(run.path, MORE, manager=PluginManager())


def test_which_plugins_a_recipe_calls(tables: Tables, parse: Callable[..., Any], manager: PluginManager):
    tables["trainer"]["generator_optimizer"] = {"name": "lion"}
    tables["penalties"] = [{"name": "dragan"}]
    found = plugin_code(called_plugins(parse(tables), manager), manager.code)
    assert set(found) == {"ganzoo-core", "ganzoo-dcgan", "ganzoo-objectives", "ganzoo-trainers"}


def test_hash_of_a_package_is_of_all_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    package = tmp_path / "my_plugin_of_the_test"
    (package / "data").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    __import__(package.name)
    info = PluginInfo("mine", "my-plugin", "1.0", f"{package.name}.plugin:hooks")
    seen = [info.code_on_disk()]
    for change in ("data/table.bin", "layers.py"):
        (package / change).write_bytes(b"1")
        seen.append(info.code_on_disk())
    (package / "layers.py").rename(package / "blocks.py")
    seen.append(info.code_on_disk())
    (package / "__pycache__").mkdir(exist_ok=True)
    (package / "__pycache__/blocks.pyc").write_bytes(b"1")
    assert info.code_on_disk() == seen[-1]
    assert len(set(seen)) == 4


@pytest.mark.slow
def test_another_machine_is_told_in_one_line_and_kept(
    tables: Tables, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    run = ganzoo.run(tables)
    capsys.readouterr()
    threads = torch.get_num_threads()
    monkeypatch.setattr("platform.python_version", lambda: "3.99.0")
    torch.set_num_threads(threads + 1)
    try:
        ganzoo.resume(run.path, MORE)
    finally:
        torch.set_num_threads(threads)
    (line,) = told(capsys)
    assert f"goes on with threads {threads + 1} (before {threads}), python 3.99.0 (before " in line
    assert line.endswith("from here its last bits may differ from those of an uninterrupted run")
    assert [each["threads"] for each in environment(run)["history"]] == [threads]
    ganzoo.resume(run.path, {"run.steps": 10})
    assert [each["from_step"] for each in environment(run)["history"]] == [0, 6]


def test_the_same_again_adds_no_history(tables: Tables, capsys: pytest.CaptureFixture[str]):
    run = ganzoo.run(tables)
    capsys.readouterr()
    for steps in (8, 10):
        ganzoo.resume(run.path, {"run.steps": steps})
    assert told(capsys) == []
    assert (environment(run)["from_step"], environment(run)["history"]) == (0, [])


def test_other_options_are_told_kept_and_compared(tables: Tables, capsys: pytest.CaptureFixture[str]):
    tables["checkpoint"]["keep"] = 9
    run = ganzoo.run(tables)  # of 6 steps
    capsys.readouterr()
    ganzoo.resume(run.path, {**MORE, "loss.name": "hinge", "penalties": [{"name": "r1"}]})
    _, line = told(capsys)  # the first: hinge lacks an option
    changes = "options have changed: loss.name hinge (before non_saturating), penalties.0.name r1 (before null)"
    assert line == f"warning: {changes}; accepted, and the run can no longer be repeated from its recipe"
    before, now = environment(run)["history"][0]["options"], environment(run)["options"]
    assert (before["loss.name"], now["loss.name"]) == ("non_saturating", "hinge")
    assert [key for key in now if key.startswith(("run.", "tracking.", "device.", "samples."))] == ["run.seed"]
    assert "dataset.placement" not in now
    assert ganzoo.compare(run.path).notes[0] == f"tiny/0001: resumed from step 6: {changes}"

    # From an earlier step than the change with what it was begun with: as if it had never been otherwise.
    for checkpoint in (run.path / "checkpoints").glob("step_*"):
        if checkpoint.name > "step_0000003":
            checkpoint.rename(checkpoint.with_name(f"away_{checkpoint.name}"))
    ganzoo.resume(run.path, {"loss.name": "non_saturating", "penalties": [], "run.log_every": 1})
    assert (environment(run)["from_step"], environment(run)["history"]) == (0, [])
    assert not [note for note in ganzoo.compare(run.path).notes if "resumed" in note]


def test_another_seed_is_told(tables: Tables, capsys: pytest.CaptureFixture[str]):
    run = ganzoo.run(tables, ["run.seed=3"])
    capsys.readouterr()
    ganzoo.resume(run.path, {**MORE, "run.seed": 4})
    (line,) = told(capsys)
    assert "options have changed: run.seed 4 (before 3); accepted" in line


def test_the_length_is_an_option_of_training_where_another_is_scheduled_over_it(
    tables: Tables, capsys: pytest.CaptureFixture[str]
):
    tables["trainer"]["generator_optimizer"] = {"name": "adam", "lr": {"from": 1e-3, "to": 1e-4}}
    run = ganzoo.run(tables)
    capsys.readouterr()
    ganzoo.resume(run.path, MORE)
    assert "options have changed: run.steps 8 (before 6)" in " ".join(told(capsys))


@pytest.mark.parametrize(
    "text", [None, "{", "[]", '{"data": 3, "plugin_code": {}}', '{"data": {}, "plugin_code": {}}', HOSTILE]
)
def test_a_missing_or_damaged_environment(tables: Tables, capsys: pytest.CaptureFixture[str], text: str | None):
    run = ganzoo.run(tables)
    path = run.path / "environment.json"
    path.unlink() if text is None else path.write_text(text)
    capsys.readouterr()
    ganzoo.resume(run.path, MORE, accept_changes=True)
    (line, *_) = told(capsys)
    assert "does not say what data and code the run was trained with" in line or "the dataset has changed" in line
    assert "\x1b" not in line
    assert environment(run)["data"]["samples"] == 64


class Child:
    """A process that has ended."""

    def __init__(self, code: int) -> None:
        self.returncode = code


class TestSweeps:
    def test_go_on_with_the_same_code_only(
        self, tables: Tables, plugin: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ):
        started: list[tuple[str, bool]] = []

        def start(sweep: SweepDirectory, member: Member, environment: Tables, accept: bool, _: object) -> Job:
            started.append((str(member), accept))
            path = sweep.path / member.variant / f"{member.seed:04d}"
            path.mkdir(parents=True)
            (path / "recipe.toml").write_text(f"[run]\nseed = {member.seed}\nsteps = 2\n")
            (path / "summary.json").write_text(json.dumps({"status": "complete"}))
            if member.seed == 9:
                plugin.write_text(LOSS + "# changed while the sweep goes on\n")
            child: Any = Child(0)
            child.poll, child.wait = lambda: 0, lambda: 0
            return Job(member, child, sweep.log(member), time.monotonic(), environment)

        monkeypatch.setattr(run_sweep, "start", start)
        ganzoo.sweep(tables, {})
        plugin.write_text(LOSS + "# of today\n")
        ganzoo.sweep(tables, {})  # nothing is left to do
        before = json.loads((tmp_path / "runs/tiny-sweep/sweep.json").read_text())
        with pytest.raises(RequestError, match=r"1 run left.*\n  the plugin calm\.py has changed: .*\n.*--accept"):
            ganzoo.sweep(tables, {}, seeds=2)
        assert json.loads((tmp_path / "runs/tiny-sweep/sweep.json").read_text()) == before
        assert started == [("tiny seed 7", False)]
        ganzoo.sweep(tables, {}, seeds=2, accept_changes=True)
        assert started[1:] == [("tiny seed 8", True)]
        with pytest.raises(RequestError, match=r"no more runs were started.*\n  the plugin calm\.py has changed: "):
            ganzoo.sweep(tables, {}, seeds=4)
        assert started[2:] == [("tiny seed 9", False)]
        state = json.loads((tmp_path / "runs/tiny-sweep/sweep.json").read_text())
        assert [row["status"] for row in state["runs"]] == ["complete", "complete", "complete", "waiting"]

    @pytest.fixture
    def job(self, tmp_path: Path) -> Callable[..., tuple[SweepDirectory, Job]]:
        """A job of a run with the summary and the log of an earlier attempt."""

        def make(code: int, said: str, summary: str | None = None, told: int = 0) -> tuple[SweepDirectory, Job]:
            member, sweep = Member("hinge", {}, 7), SweepDirectory.model_construct(path=tmp_path)
            run = tmp_path / "hinge/0001"
            run.mkdir(parents=True)
            (tmp_path / "logs").mkdir()
            (run / "recipe.toml").write_text("[run]\nseed = 7\nsteps = 2\n")
            (run / "summary.json").write_text('{"status": "interrupted"}')
            os.utime(run / "summary.json", (1, 1))
            log = sweep.log(member)
            log.write_text("error: of yesterday\n")
            before, begins = child_processes._time_of_summary(RunDirectory(run)), log.stat().st_size
            log.write_text(f"error: of yesterday\n{said}")
            if summary:
                (run / "summary.json").write_text(json.dumps({"status": summary}))
            child: Any = Child(code)
            return sweep, Job(member, child, log, 0.0, {}, None, told, begins, before)

        return make

    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            ((2, "error: other data\n"), ("failed", "other data")),  # refused, before anything was trained
            ((1, ""), ("failed", "exit code 1")),
            ((-9, ""), ("failed", "killed by SIGKILL, as systems do when memory runs out")),
            ((-9, "", None, 2), ("interrupted", "")),  # by the sweep itself, at a second signal
            ((143, "stopped\n", "interrupted"), ("interrupted", "")),
            ((1, "error: lost\n", "interrupted"), ("interrupted", "")),
            ((1, "error: step 3: not finite\n", "failed"), ("failed", "step 3: not finite")),
            ((-9, "", "complete"), ("complete", "")),
        ],
    )
    def test_tell_the_reason_of_this_attempt(
        self, job: Callable[..., tuple[SweepDirectory, Job]], arguments: tuple[Any, ...], expected: tuple[str, str]
    ):
        assert outcome(*job(*arguments)) == expected
