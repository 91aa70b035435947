"""Plugin files of a run, or of a recipe to look at, are imported only by those who say so, by every command alike."""

from __future__ import annotations

import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
import typer
from command_line import Ended

import ganzoo
from ganzoo import api
from ganzoo.registry import TRUST_VARIABLE
from ganzoo.registry.plugin_manager import PluginManager

Command = Callable[..., Ended]
Tables = dict[str, Any]
IMPORTING = {"run", "sweep", "bench"}
"""Commands that train a recipe, which imports its plugin files anyhow."""
MORE = {
    "arithmetic": ["--a", "1", "--b", "2", "--c", "3"],
    "direction": ["--left", "1", "--right", "2"],
    "invert": ["--images", "nowhere"],
    "resume": ["--set", "run.steps=7"],
}
LOSS = """
from pathlib import Path

from ganzoo.builtin.losses import NonSaturating
from ganzoo.plugin import hookimpl


class Mine(NonSaturating):
    "The loss of this file."


@hookimpl
def register_losses(register):
    Path(__file__).with_name("imported").touch()
    register("mine", Mine)
"""


TRIPLES = """
from ganzoo.plugin import Dataset, VectorDatasetConfig, hookimpl


class TriplesConfig(VectorDatasetConfig):
    size: int = 3


class Triples(Dataset):
    Config = TriplesConfig

    def fingerprint(self):
        return ["triples"]

    def open(self):
        return [([index / 8, 0.0, 1.0], None) for index in range(8)]


@hookimpl
def register_datasets(register):
    register("triples", Triples)
"""


def tables_of_triples(folder: Path) -> Tables:
    return {
        "run": {"name": "triples", "steps": 1, "root": str(folder / "runs")},
        "plugins": {"files": [str(folder / "triples.py")]},
        "device": {"accelerator": "cpu"},
        "dataset": {"name": "triples"},
        "generator": {"name": "mlp", "latent_dim": 4},
        "discriminator": {"name": "mlp"},
        "loss": {"name": "non_saturating"},
        "trainer": {"name": "adversarial", "batch_size": 4},
        "tracking": {"wandb": {"mode": "disabled"}},
    }


def printed(ended: Ended, verb: str) -> list[str]:
    """Return the words of a command that `run` or `resume` ended with."""
    (line,) = re.findall(rf"(?m)^{verb}: +ganzoo (.*)$", ended.err)
    return shlex.split(line)


def commands(parameter: str) -> list[str]:
    """Every command that takes such an argument."""
    from ganzoo.cli.main import app

    group = typer.main.get_command(app)
    context = typer.Context(group)
    found = []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        parts = {f"{name} {each}": part for each, part in getattr(command, "commands", {}).items()} or {name: command}
        found += [word for word, part in parts.items() if parameter in {each.name for each in part.params}]
    return found


RUN_COMMANDS, RECIPE_COMMANDS = commands("run"), commands("recipe")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, tables_in: Callable[[Path], Tables]) -> Path:
    """A recipe with a plugin file, and a run of it."""
    folder = tmp_path_factory.mktemp("trust")
    (folder / "mine.py").write_text(LOSS)
    tables = tables_in(folder) | {"loss": {"name": "mine"}, "plugins": {"files": [str(folder / "mine.py")]}}
    tables["evaluation"] = {"samples": 8, "metrics": ["diversity"]}
    path = ganzoo.run(tables).path
    shutil.copy(path / "recipe.toml", folder / "recipe.toml")
    shutil.copytree(path / "plugins", folder / "plugins")
    return path


def test_the_commands():
    assert {*RUN_COMMANDS} >= {"sample", "evaluate", "export", "resume", "latent-grid", "neighbors", "filters", "probe"}
    assert {*RECIPE_COMMANDS} == {"data prepare", "data doctor", "recipe check", "recipe show", *IMPORTING}


@pytest.mark.slow
@pytest.mark.parametrize("way", ["before", "after", "variable"])
@pytest.mark.parametrize("name", [*RUN_COMMANDS, *(name for name in RECIPE_COMMANDS if name not in IMPORTING)])
def test_every_command(
    command: Command, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, way: str
):
    run = shutil.copytree(made, tmp_path / "run")
    mark = run / "plugins/imported"
    place = run if name in RUN_COMMANDS else run / "recipe.toml"
    out = ["--out", tmp_path / ("scores.json" if name == "evaluate" else "out")] if name in commands("out") else []
    words = [*name.split(), place, *out, *MORE.get(name, [])]
    ended = command(*words)
    assert not mark.exists()
    assert "--trust" in ended.err
    if way == "variable":
        monkeypatch.setenv(TRUST_VARIABLE, "1")
    ended = command(*["--trust"] * (way == "before"), *words, *["--trust"] * (way == "after"))
    assert mark.exists()
    assert "add --trust" not in ended.err  # as a refusal says


@pytest.mark.parametrize("word", ["0", "", "no", "off"])
def test_variable_that_says_no(
    command: Command, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str
):
    monkeypatch.setenv(TRUST_VARIABLE, word)
    ended = command("sample", made, "--out", tmp_path / "x.png")
    assert (ended.code, "add --trust" in ended.err) == (2, True)


def test_a_plugin_file_that_is_imported_is_not_imported_again(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """As under GANZOO_PLUGIN_FILES or --plugin: a run can be repeated and opened, another file of the name is told."""
    (tmp_path / "mine.py").write_text(LOSS)
    manager = PluginManager(files=[tmp_path / "mine.py"])
    assert manager.with_files([made / "plugins" / "mine.py"]) is manager
    twice = PluginManager(files=[tmp_path / "mine.py", tmp_path / "runs" / ".." / "mine.py"])
    assert [file.name for file in twice.files] == ["mine.py"]
    assert api.load_run(made, manager=manager).sample(1).shape[0] == 1
    assert "in place of another" not in capsys.readouterr().err
    again = ganzoo.run(made / "recipe.toml", {"run.steps": 1, "run.root": str(tmp_path / "runs")}, manager=manager)
    assert again.recipe.loss.name == "mine"
    (tmp_path / "mine.py").write_text(LOSS + "\n# changed\n")
    other = PluginManager(files=[tmp_path / "mine.py"])
    api.load_run(made, manager=other)
    assert f"{tmp_path / 'mine.py'} is imported, in place of another mine.py" in capsys.readouterr().err


def test_runs_of_one_plugin_file_live_beside_each_other(made: Path, tmp_path: Path):
    """Each manager imports the file anew, also where the component is registered by its import path."""
    run = shutil.copytree(made, tmp_path / "run")
    file = run / "plugins" / "mine.py"
    file.write_text(
        file.read_text().replace('register("mine", Mine)', 'register("mine", "mine:Mine", config=Mine.Config)')
    )
    first, second = (api.load_run(run, trust_plugins=True) for _ in range(2))
    for opened in (first, second):
        assert opened.manager.registries.losses["mine"].load().__doc__ == "The loss of this file."
    again = [
        ganzoo.run(run / "recipe.toml", {"run.seed": seed, "run.root": str(tmp_path / "runs"), "run.steps": 1})
        for seed in range(2)
    ]
    assert [each.sample(1).shape[0] for each in again] == [1, 1]


def test_the_commands_printed_after_a_run_work(command: Command, made: Path, tmp_path: Path):
    """Of a run with a plugin file; of vectors that no picture shows, they write numbers."""
    copy = shutil.copytree(made, tmp_path / "run")
    ended = command("resume", copy, "--trust", "--set", "run.steps=7")
    assert printed(ended, "sample") == ["sample", str(copy), "--out", "run.png", "--trust"]
    assert printed(ended, "evaluate") == ["evaluate", str(copy), "--trust"]
    assert command(*printed(ended, "evaluate")).code == 0
    (tmp_path / "triples.py").write_text(TRIPLES)
    tables = tables_of_triples(tmp_path)
    (tmp_path / "recipe.toml").write_text(tomli_w.dumps(tables))
    run = command("run", tmp_path / "recipe.toml")
    verb, place, _, file, trust = printed(run, "sample")
    assert (file, trust) == ("0001.npy", "--trust")
    assert command(verb, place, "--out", tmp_path / file, trust).code == 0
    assert np.load(tmp_path / file).shape == (64, 3)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("given", ["files", "--plugin"])
def test_the_hint_after_ctrl_c_is_a_command_that_works(
    forked: Any, recipe_file: Callable[[Tables], Path], tables: Tables, tmp_path: Path, given: str
):
    """In a folder whose name a shell takes apart, with a plugin file, whose copy the run directory holds."""
    (tmp_path / "mine.py").write_text(LOSS)
    tables["run"] |= {"root": str(tmp_path / "my $HOME runs; 'a'"), "steps": 100_000, "log_every": 1}
    tables["loss"] = {"name": "mine"}
    if given == "files":
        tables["plugins"] = {"files": ["mine.py"]}
    child = forked("run", recipe_file(tables), *(["--plugin", tmp_path / "mine.py"] if given == "--plugin" else []))
    for line in child.stderr:
        if line.startswith("step "):
            break
    child.send_signal(signal.SIGINT)
    rest = child.stderr.read()
    assert child.wait() == 130
    found = re.search(r"(?m)^interrupted at step (\d+) of 100000: (.*)$", rest)
    assert found, rest
    ganzoo_here = f'ganzoo() {{ {sys.executable} -m ganzoo "$@"; }}'
    ended = subprocess.run(
        ["sh", "-c", f"{ganzoo_here}\n{found[2]} --set run.steps={int(found[1]) + 1}"], capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    assert f"goes on from step {found[1]}" in ended.stderr
