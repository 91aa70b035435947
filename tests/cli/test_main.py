"""How the command ends: exit codes, what is printed where, and no traceback for a user's error."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import typer

from ganzoo import api
from ganzoo.cli.main import app

Command = Callable[..., Any]


def test_version(command: Command):
    ended = command("--version")
    assert (ended.code, ended.out) == (0, version("ganzoo-core") + "\n")


def test_help_lists_every_command_under_its_heading(command: Command):
    ended = command("--help")
    assert (ended.code, ended.err) == (0, "")
    sections = [part.strip().splitlines() for part in ended.out.split("\n\n")[4:]]
    listed = {heading: [row.split()[0] for row in rows if row[2] != " "] for heading, *rows in sections}
    assert listed["Train:"] == ["run", "resume", "sweep", "bench"]
    assert listed["Look:"][:3] == ["sample", "evaluate", "import"]
    assert "export" in listed["Look:"]
    assert listed["Compare:"] == ["compare"]
    assert listed["Data and recipes:"] == ["data", "recipe"]
    assert listed["Plugins:"] == ["list", "plugins", "test-plugin", "new-plugin"]


def test_alone_it_shows_the_three_ways_to_use_it_before_the_commands(command: Command):
    ended = command()
    for way in (
        "Train a recipe:    ganzoo run",
        "Write a plugin:    ganzoo new-plugin",
        "Compare variants:  ganzoo sweep",
    ):
        assert ended.err.index(f"\n  {way} ") < ended.err.index("\nTrain:\n")


def test_every_seed_is_one_that_torch_takes():
    group = typer.main.get_command(app)
    context = typer.Context(group)
    commands = [group.get_command(context, name) for name in group.list_commands(context)]
    options = [(each.name, option) for each in commands for option in each.params]
    ranges = {command: getattr(option, "type", option) for command, option in options if option.name == "seed"}
    assert {"sample", "evaluate", "latent-grid", "probe"} < ranges.keys()
    assert {(each.min, each.max) for each in ranges.values()} == {(0, 2**63 - 1)}


@pytest.mark.parametrize("seed", ["-1", "9" * 23])
def test_a_seed_that_no_generator_takes(command: Command, seed: str):
    ended = command("sample", "run", "--out", "a.png", "--seed", seed)
    assert ended.code == 2
    assert "Invalid value for '--seed'" in ended.err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_can_be_installed(tmp_path: Path, shell: str):
    home = {**os.environ, "HOME": str(tmp_path), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    program = Path(sys.executable).with_name("ganzoo")
    subprocess.run([program, "--install-completion", shell], env=home, check=True, capture_output=True)
    asked = f"_GANZOO_COMPLETE=complete_{shell}"
    assert any(asked in file.read_text() for file in tmp_path.rglob("*") if file.is_file())


@pytest.mark.parametrize(
    ("words", "found"), [("ev", ["evaluate"]), ("data ", ["prepare", "doctor"]), ("sample --ba", ["--batch-norm"])]
)
def test_completion_knows_commands_and_options(words: str, found: list[str]):
    typed = {"COMP_WORDS": f"ganzoo {words}", "COMP_CWORD": str(words.count(" ") + 1)}
    environment = {**os.environ, **typed, "_GANZOO_COMPLETE": "complete_bash"}
    program = Path(sys.executable).with_name("ganzoo")
    ended = subprocess.run([program], env=environment, check=True, capture_output=True, text=True)
    assert ended.stdout.split() == found


@pytest.mark.parametrize(
    "arguments", [["frobnicate"], ["run"], ["sample", "x"], ["list", "nonsense"], ["run", "--sett", "a=1"]]
)
def test_wrong_usage_ends_with_2(command: Command, arguments: list[str]):
    ended = command(*arguments)
    assert ended.code == 2
    assert "Traceback" not in ended.err
    assert ended.out == ""


def test_user_error_is_one_line_on_stderr_and_ends_with_2(command: Command):
    ended = command("run", "no.toml")
    assert (ended.code, ended.out, ended.err) == (2, "", "error: no.toml: there is no such recipe file\n")


LAST_LINE_ON_TORCH = """
import atexit, sys
from ganzoo.cli.main import main
atexit.register(lambda: print("torch" in sys.modules))
main()
"""
WRONG = "{recipe} --set run.rounds=3"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("run no.toml", "no.toml: there is no such recipe file"),
        (f"run {WRONG}", "run.rounds: there is no such key"),
        (f"sweep {WRONG} --vary loss.name=hinge", "run.rounds: there is no such key"),
        (f"data prepare {WRONG}", "run.rounds: there is no such key"),
        (f"data doctor {WRONG}", "run.rounds: there is no such key"),
        (f"recipe check {WRONG}", "run.rounds: there is no such key"),
        ("resume nowhere", "nowhere: there is no such run directory"),
        ("evaluate nowhere", "nowhere: there is no such run directory"),
        ("sample {folder} --out a.png", "is not a run directory, it has no recipe.toml"),
        ("export nowhere --out b", "nowhere: there is no such run directory"),
        ("compare nowhere", "nowhere: there is no such run directory"),
    ],
)
def test_a_mistake_is_told_before_torch_is_imported(
    recipe_file: Callable[[dict], Path], tables: dict, tmp_path: Path, arguments: str, told: str
):
    """Importing torch takes some seconds."""
    (folder := tmp_path / "runs").mkdir()
    words = [word.format(recipe=recipe_file(tables), folder=folder) for word in arguments.split()]
    ended = without_torch(*words)
    assert (ended.returncode, ended.stdout) == (2, "False\n"), ended.stderr
    assert told in ended.stderr


def test_runs_are_compared_without_torch(tables: dict):
    path = api.run(tables, ["run.steps=1"]).path
    ended = without_torch("compare", str(path))
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.endswith("False\n")


def without_torch(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, whose last line says whether it imported torch."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        [sys.executable, "-c", LAST_LINE_ON_TORCH, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )


@pytest.mark.parametrize("place", [0, 1, 3])
def test_debug_shows_the_traceback_wherever_it_stands(command: Command, place: int):
    arguments = ["recipe", "check", "no.toml"]
    arguments.insert(place, "--debug")
    ended = command(*arguments)
    assert ended.code == 2
    assert ended.err.startswith("Traceback (most recent call last)")
    assert "RequestError: no.toml: there is no such recipe file" in ended.err


def test_training_that_fails_ends_with_1(command: Command, recipe_file: Callable[[dict], Path], tables: dict):
    ended = command("run", recipe_file(tables), "--set", "trainer.generator_optimizer={name='sgd', lr=9e18}")
    assert ended.code == 1
    assert ended.out == ""
    assert "Traceback" not in ended.err
    assert ended.err.splitlines()[-1].startswith("error: step ")


def test_interruption_outside_of_training_ends_with_130(
    command: Command, recipe_file: Callable[[dict], Path], tables: dict, monkeypatch: pytest.MonkeyPatch
):
    def interrupted(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ganzoo.api.run", interrupted)
    ended = command("run", recipe_file(tables))
    assert (ended.code, ended.err) == (130, "interrupted\n")


def test_ctrl_c_during_the_imports_ends_as_later(process: Callable[..., subprocess.Popen[str]], tmp_path: Path):
    """The signal comes when the command line is imported."""
    (tmp_path / "typer.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    places = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    started = process("--version", env={**os.environ, "PYTHONPATH": places})
    out, err = started.communicate(timeout=60)
    assert (started.returncode, out, err) == (130, "", "interrupted\n")


def test_plugin_can_be_left_out(command: Command, recipe_file: Callable[[dict], Path], tables: dict):
    for arguments in (
        ["--no-plugin", "dcgan", "list", "architectures"],
        ["list", "architectures", "--no-plugin=dcgan"],
    ):
        assert not any(line.startswith("dcgan\t") for line in command(*arguments).out.splitlines())
        os.environ.pop("GANZOO_DISABLE_PLUGINS")
    ended = command("recipe", "check", recipe_file(tables), "--no-plugin", "dcgan")
    assert ended.code == 2
    assert 'generator.name: there is no generator "dcgan"' in ended.err


def test_no_plugin_without_a_name(command: Command):
    assert command("plugins", "--no-plugin").code == 2


@pytest.mark.slow
def test_python_m_ganzoo_and_a_reader_that_leaves():
    """`ganzoo recipe schema | head -1` ends without a traceback."""
    child = subprocess.Popen(
        [sys.executable, "-m", "ganzoo", "recipe", "schema"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stderr is not None
    assert child.stdout.readline() == "{\n"
    child.stdout.close()
    errors = child.stderr.read()
    child.stderr.close()
    child.wait()
    assert "Traceback" not in errors
    assert "Exception" not in errors


STUCK = """
import atexit, time
from ganzoo.cli import main
from ganzoo.registry.hookspecs import hookimpl
atexit.register(time.sleep, 600)
assert main.HOOK_SECONDS == 10
main.HOOK_SECONDS = 1  # the tests have less patience
@hookimpl
def register_losses(register):
    pass
"""


@pytest.mark.slow
@pytest.mark.parametrize(("arguments", "code"), [(["plugins"], 0), (["resume", "nowhere"], 2)])
def test_libraries_cannot_keep_a_command_from_ending(
    process: Callable[..., subprocess.Popen[str]], tmp_path: Path, arguments: list[str], code: int
):
    """An exit hook that waits for ten minutes, as W&B's may for its server, is left to itself after ten seconds."""
    (tmp_path / "stuck.py").write_text(STUCK)
    child = process("--plugin", tmp_path / "stuck.py", *arguments)
    out, err = child.communicate(timeout=60)
    assert child.returncode == code, err
    assert "Traceback" not in err
    assert ("stuck" in out) == (code == 0)
