"""Run directories: numbering, from several processes too; metrics that survive a kill; what is said of wrong ones."""

from __future__ import annotations

import json
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from forked import Forked

from ganzoo.errors import OutputError, RequestError, RunDirectoryError
from ganzoo.recipe.load import parse_recipe
from ganzoo.recipe.model import Recipe
from ganzoo.registry.plugin_manager import PluginManager
from ganzoo.storage.run_directory import RunDirectory


@pytest.fixture
def recipe(tables: dict, parse: Callable[..., Recipe]) -> Recipe:
    return parse(tables)


@pytest.fixture
def directory(recipe: Recipe) -> RunDirectory:
    return RunDirectory.create(recipe)


def test_runs_are_numbered_on(recipe: Recipe, tmp_path: Path):
    paths = [RunDirectory.create(recipe).path for _ in range(3)]
    assert [path.relative_to(tmp_path).as_posix() for path in paths] == [f"runs/tiny/000{n}" for n in (1, 2, 3)]
    (tmp_path / "runs/tiny/0041").mkdir()
    (tmp_path / "runs/tiny/notes").mkdir()
    assert RunDirectory.create(recipe).path.name == "0042"


def test_new_directory_holds_the_resolved_recipe(directory: RunDirectory, recipe: Recipe, manager: PluginManager):
    text = (directory.path / "recipe.toml").read_text()
    assert text.startswith("# Every option of this run")
    assert parse_recipe(tomllib.loads(text), manager).to_dict() == recipe.to_dict()
    assert RunDirectory.open(directory.path).read_recipe() == recipe.to_dict()
    assert directory.samples.is_dir()
    assert directory.checkpoints.is_dir()


@pytest.mark.slow
def test_processes_never_share_a_directory(tmp_path: Path, tables: dict):
    tables["run"] |= {"root": str(tmp_path), "name": "r"}
    script = """
import sys, json
from pathlib import Path
from ganzoo.storage.run_directory import RunDirectory
from ganzoo.registry.plugin_manager import plugin_manager
from ganzoo.recipe.load import parse_recipe

recipe = parse_recipe(json.loads(sys.argv[1]), plugin_manager())
print("ready", flush=True)
sys.stdin.readline()
print(json.dumps([RunDirectory.create(recipe).path.name for _ in range(30)]))
"""
    children = [
        Forked("-c", script, json.dumps(tables), stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(3)
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    made = [name for child in children for name in json.loads(child.communicate(timeout=60)[0])]
    assert sorted(made) == [f"{n:04d}" for n in range(1, 91)]


def test_root_that_is_a_file(recipe: Recipe, tmp_path: Path):
    (tmp_path / "runs").write_text("in the way")
    with pytest.raises(RequestError, match=r"^run\.root: no run directory can be made in .*set run\.root to a folder"):
        RunDirectory.create(recipe)


def test_what_is_no_run_directory(directory: RunDirectory, tmp_path: Path):
    with pytest.raises(RunDirectoryError, match="there is no such run directory"):
        RunDirectory.open(tmp_path / "gone")
    with pytest.raises(RunDirectoryError, match=r"it has no recipe\.toml; runs in it: 0001$"):
        RunDirectory.open(directory.path.parent)
    with pytest.raises(RunDirectoryError, match=r"it has no recipe\.toml$"):
        RunDirectory.open(tmp_path)
    (directory.path / "recipe.toml").write_text("[run")
    with pytest.raises(RunDirectoryError, match=r"recipe\.toml: cannot be read"):
        RunDirectory.open(directory.path).read_recipe()


def test_metrics_are_read_back(directory: RunDirectory):
    assert directory.read_metrics() == []
    rows = [{"step": step, "loss": step / 3} for step in (2, 4, 6)]
    for row in rows:
        directory.append_metrics(row)
        assert directory.read_metrics()[-1] == row  # on the disk as soon as it is written
    directory.cut_metrics_after(4)
    assert directory.read_metrics() == rows[:2]


def test_row_torn_by_a_kill_is_left_out(directory: RunDirectory):
    directory.append_metrics({"step": 1})
    with directory.metrics.open("a") as file:
        file.write('{"step": 2, "lo')
    assert directory.read_metrics() == [{"step": 1}]
    directory.cut_metrics_after(5)
    directory.append_metrics({"step": 2})
    assert directory.read_metrics() == [{"step": 1}, {"step": 2}]


def test_metrics_that_cannot_be_written(directory: RunDirectory):
    directory.metrics.mkdir()
    with pytest.raises(OutputError, match=r"metrics\.jsonl: cannot be written"):
        directory.append_metrics({"step": 1})
