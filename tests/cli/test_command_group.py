"""Commands of plugins beside those of the core: found, listed, imported late, and refused where names clash."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from ganzoo.builtin.commands import ELSEWHERE
from ganzoo.cli.command_group import installed_commands, own_commands
from ganzoo.errors import PluginError
from ganzoo.registry.commands import Command, CommandRegistrar
from ganzoo.registry.plugin_manager import PluginManager

Run = Callable[..., Any]
Install = Callable[..., None]

PLUGIN = """
from ganzoo.registry.hookspecs import hookimpl

@hookimpl
def register_commands(register):
    register("{name}", "{module}:greet", help="Say hello.", section="{section}")
"""
COMMAND = """
import typer

def greet(name: str, loud: bool = False) -> None:
    "Say hello to somebody."
    typer.echo(f"hello {name.upper() if loud else name}")
"""


def plugin(module: str, name: str = "greet", section: str = "compare") -> str:
    return PLUGIN.format(name=name, module=module, section=section)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a distribution on the path: `install("ganzoo-x", x="source")`, whose plugins are the modules with a hook."""
    monkeypatch.syspath_prepend(tmp_path)

    def put(distribution: str, **modules: str) -> None:
        info = tmp_path / f"{distribution.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        entries = [f"{name.removeprefix('gz_')} = {name}" for name, text in modules.items() if "hookimpl" in text]
        (info / "entry_points.txt").write_text("\n".join(["[ganzoo]", *entries, ""]))
        for module, source in modules.items():
            (tmp_path / f"{module}.py").write_text(source)

    return put


def row(out: str, name: str) -> str:
    (found,) = [line for line in out.splitlines() if line.split()[:1] == [name]]
    return found


class TestOfADistribution:
    def test_is_listed_with_its_plugin_and_not_imported(self, command: Run, install: Install) -> None:
        install("ganzoo-hello", gz_hello=plugin("gz_hello_said"), gz_hello_said=COMMAND)
        ended = command("--help")
        assert ended.err == ""
        assert row(ended.out, "greet").endswith("Say hello. [hello]")
        heading = ended.out.index("\nCompare:")
        assert heading < ended.out.index("  greet ") < ended.out.index("\nData and recipes:")
        assert "gz_hello_said" not in sys.modules

    def test_runs(self, command: Run, install: Install) -> None:
        install("ganzoo-runs", gz_runs=plugin("gz_runs_said"), gz_runs_said=COMMAND)
        assert command("greet", "you", "--loud").out == "hello YOU\n"
        assert "Say hello to somebody." in command("greet", "--help").out
        assert command("greet").code == 2

    def test_may_be_a_group(self, command: Run, install: Install) -> None:
        group = COMMAND.replace("def greet", "group = typer.Typer(help='Greet.')\n\n@group.command()\ndef hi")
        group += "\n@group.command()\ndef bye() -> None:\n    'Leave.'\n    typer.echo('bye')\n"
        install("ganzoo-group", gz_group=plugin("gz_group_said").replace(":greet", ":group"), gz_group_said=group)
        assert command("greet", "hi", "you").out == "hello you\n"
        assert command("greet", "bye").out == "bye\n"

    @pytest.mark.parametrize("place", [0, 1])
    def test_is_left_out_with_its_plugin(self, command: Run, install: Install, place: int) -> None:
        install("ganzoo-out", gz_out=plugin("gz_out_said"), gz_out_said=COMMAND)
        arguments = ["--help"]
        arguments[place:place] = ["--no-plugin", "out"]
        assert "greet" not in command(*arguments).out
        ended = command("--no-plugin", "out", "greet", "you")
        assert ended.code == 2
        assert 'there is no command "greet"' in ended.err

    def test_name_taken_twice(self, command: Run, install: Install) -> None:
        install("ganzoo-one", gz_one=plugin("gz_said"), gz_said=COMMAND)
        install("ganzoo-two", gz_two=plugin("gz_said"))
        ended = command("--help")
        assert row(ended.out, "greet").endswith("[one]")
        assert ended.err == (
            'warning: the plugin two (ganzoo-two 1.0) could not be loaded: the command name "greet" is taken by the '
            "plugin one (ganzoo-one 1.0); the plugin two (ganzoo-two 1.0) wants it too: rename it there, or leave one "
            "of the two out with --no-plugin\n"
        )
        assert command("greet", "you").out == "hello you\n"
        assert row(command("--no-plugin", "one", "--help").out, "greet").endswith("[two]")

    def test_name_of_the_core(self, command: Run, install: Install) -> None:
        install("ganzoo-thief", gz_thief=plugin("gz_said", name="sample"))
        ended = command("--help")
        assert "Make images" in row(ended.out, "sample")
        assert 'the command name "sample" is taken by the plugin builtin (ganzoo-core' in ended.err
        (found,) = [each for each in PluginManager().plugins if each.name == "thief"]
        assert found.status == "broken"

    def test_of_a_broken_plugin(self, command: Run, install: Install) -> None:
        install("ganzoo-broken", gz_broken=plugin("gz_said") + "\nraise RuntimeError('no')\n")
        for arguments, code in ((["--help"], 0), (["greet", "you"], 2)):
            ended = command(*arguments)
            assert ended.code == code
            assert ended.err.count("the plugin broken (ganzoo-broken 1.0) could not be loaded: RuntimeError: no") == 1
            assert "Traceback" not in ended.err

    def test_that_cannot_be_imported(self, command: Run, install: Install) -> None:
        install("ganzoo-gone", gz_gone=plugin("gz_gone_nowhere"))
        ended = command("greet", "you")
        assert (ended.code, ended.out) == (2, "")
        assert ended.err == (
            'error: the command "greet" of the plugin gone (ganzoo-gone 1.0) cannot be imported from '
            "gz_gone_nowhere:greet: ModuleNotFoundError: No module named 'gz_gone_nowhere'\n"
        )

    def test_help_imports_no_plugin_without_commands(self, command: Run, install: Install) -> None:
        install(
            "ganzoo-quiet", gz_quiet="from ganzoo.registry.hookspecs import hookimpl\nnoise = 'register_commands'\n"
        )
        assert command("--help").err == ""
        assert "gz_quiet" not in sys.modules


class TestOfAFile:
    def test_is_listed_and_runs(self, command: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "hello.py").write_text(plugin("gz_file_said"))
        (tmp_path / "gz_file_said.py").write_text(COMMAND)
        monkeypatch.syspath_prepend(tmp_path)
        ended = command("--help", "--plugin", tmp_path / "hello.py")
        assert row(ended.out, "greet").endswith("Say hello. [hello.py]")
        assert "gz_file_said" not in sys.modules
        monkeypatch.setenv("GANZOO_PLUGIN_FILES", "")
        assert command("greet", "you", "--plugin", tmp_path / "hello.py").out == "hello you\n"
        monkeypatch.setenv("GANZOO_PLUGIN_FILES", "")
        assert command("greet", "you").code == 2

    def test_a_path_may_have_the_separator_of_paths(
        self, command: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (folder := tmp_path / f"a{os.pathsep}b").mkdir()
        (folder / "hello.py").write_text(plugin("gz_parted_said"))
        (tmp_path / "gz_parted_said.py").write_text(COMMAND)
        (tmp_path / "quiet.py").write_text(plugin("gz_parted_said", name="murmur"))
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setenv("GANZOO_PLUGIN_FILES", os.pathsep)  # as `export NAME=$NAME:…` leaves them
        arguments = ("--plugin", folder / "hello.py", "--plugin", tmp_path / "quiet.py")
        assert command("greet", "you", *arguments).out == "hello you\n"
        assert command("murmur", "you").out == "hello you\n"  # named by the variable, as for child processes

    def test_that_takes_a_name_of_the_core(self, command: Run, tmp_path: Path) -> None:
        (tmp_path / "thief.py").write_text(plugin("gz_said", name="run"))
        ended = command("--plugin", tmp_path / "thief.py", "--help")
        assert ended.code == 2
        assert ended.err.startswith(f"error: the plugin file {tmp_path / 'thief.py'} cannot be used: the command name")


class TestNames:
    def test_close_ones_are_named(self, command: Run) -> None:
        assert 'there is no command "sampel", did you mean sample?' in command("sampel").err

    def test_others_are_told_where_to_look(self, command: Run) -> None:
        assert 'there is no command "zzz"; `ganzoo --help` lists them' in command("zzz").err


class TestRegistering:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("Two Words", "m:f"), 'the command name "Two Words": take lowercase letters and digits'),
            (("-x", "m:f"), 'the command name "-x"'),
            (("x", "module"), 'give its place as "module:function"'),
            (("x", print), 'give its place as "module:function"'),
            (("x", "m:f", "elsewhere"), "take one of train, look, compare, data, plugins"),
        ],
    )
    def test_wrongly(self, arguments: tuple[Any, ...], message: str) -> None:
        name, target, section = (*arguments, "look")[:3]
        with pytest.raises(PluginError) as raised:
            CommandRegistrar({}, "p")(name, target, help="", section=section)
        assert message in str(raised.value)

    def test_both_ways_find_the_same(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What --help lists at once is what the plugin manager has, but for the core's own."""
        monkeypatch.setitem(os.environ, "GANZOO_DISABLE_PLUGINS", "")
        listed = {(each.name, each.target, each.section) for each in installed_commands()}
        managed = {
            (each.name, each.target, each.section)
            for each in PluginManager().commands.values()
            if not each.plugin.startswith("builtin ")
        }
        assert listed == managed


@pytest.mark.parametrize("each", list(own_commands().values()), ids=lambda each: each.name)
def test_core_says_the_same_in_both_helps(each: Command):
    target = each.load()
    text = target.info.help if isinstance(target, typer.Typer) else inspect.getdoc(target)
    assert text is not None
    assert text.startswith(each.help.rstrip("."))


def test_a_command_of_a_distribution_that_is_not_there_names_it(command: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ELSEWHERE, "frobnicate", "ganzoo-absent")
    ended = command("frobnicate")
    assert ended.code == 2
    told = '"frobnicate" comes with ganzoo-absent: "ganzoo-absent" is not installed; pip installs it from its folder'
    assert f"{told}, plugins/ganzoo-absent" in ended.err


def test_a_command_of_a_plugin_that_is_left_out_says_so(command: Run) -> None:
    ended = command("--no-plugin", "export", "export", "runs/x", "--out", "given")
    assert ended.code == 2
    assert 'the command "export" comes with ganzoo-export: the plugin export (ganzoo-export ' in ended.err
    assert ended.err.endswith(") is disabled\n")


def test_every_command_of_the_plugins_here_is_known_to_the_core() -> None:
    here = {path.name for path in (Path(__file__).parents[2] / "plugins").iterdir()}
    manager = PluginManager()
    sources = {str(plugin): plugin.distribution for plugin in manager.plugins}
    found = {command.name: sources[command.plugin] for command in manager.commands.values()}
    assert {name: source for name, source in found.items() if source in here} == ELSEWHERE
