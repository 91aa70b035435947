"""`ganzoo new-plugin`: what it writes installs, passes its own tests and trains, untouched."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from forked import Forked
from ganzoo_testing import check_component, train_briefly
from ganzoo_testing.scaffold import OUTLINES

from ganzoo.registry.kinds import KINDS
from ganzoo.registry.plugin_manager import PluginManager

Command = Callable[..., Any]


def test_there_is_one_for_every_kind_of_component():
    used = {kind for outline in OUTLINES.values() for kind in outline.used}
    assert used == {kind.name for kind in KINDS}


@pytest.mark.slow
@pytest.mark.parametrize("kind", OUTLINES)
def test_works_untouched(kind: str, command: Command, tmp_path: Path):
    if importlib.util.find_spec("hatchling") is None:
        pytest.skip("hatchling, which builds the distribution, is not installed")
    folder, site = tmp_path / "plugin", tmp_path / "site"
    ended = command("new-plugin", "ganzoo-brandnew", "--kind", kind, "--out", folder)
    assert ended.code == 0, ended.err
    assert ended.out == f"{folder}\n"
    environment = {**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}
    pip = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target", str(site), str(folder)]
    tests = ["-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder / "tests")]  # they train two steps
    check = ["-m", "ganzoo", "recipe", "check", str(folder / "recipes" / "brandnew.toml")]
    for arguments in (pip, tests, check):
        done = Forked(*arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, cwd=tmp_path)
        out, _ = done.communicate(timeout=300)
        assert done.returncode == 0, out


def test_its_trainer_conforms_and_follows_schedules(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    command("new-plugin", "ganzoo-brandnew", "--kind", "trainer", "--out", tmp_path / "x")
    info = tmp_path / "x" / "ganzoo_brandnew-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.4\nName: ganzoo-brandnew\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text("[ganzoo]\nbrandnew = ganzoo_brandnew.plugin\n")
    monkeypatch.syspath_prepend(str(tmp_path / "x"))
    for name in ("ganzoo_brandnew", "ganzoo_brandnew.plugin", "ganzoo_brandnew.trainer"):
        monkeypatch.setitem(sys.modules, name, None)  # so that it is forgotten afterwards
        del sys.modules[name]
    manager = PluginManager()
    check_component(manager.registries.trainers["brandnew"], manager)
    recipe, rate = tmp_path / "x" / "recipes" / "brandnew.toml", "trainer.generator_optimizer.lr={from=1e-3,to=1e-4}"
    small = ("generator.width=4", "discriminator.width=4")
    trained = train_briefly(recipe, tmp_path / "runs", rate, *small, manager=manager)
    assert trained.metrics[-1]["lr/generator"] == pytest.approx(5.5e-4)


def test_a_command_is_tried_on_a_run(command: Command, tmp_path: Path):
    ended = command("new-plugin", "ganzoo-brand_new", "--kind", "command", "--out", tmp_path / "x")
    tried = "ganzoo brand-new runs/ganzoo-brand_new/0001"
    assert ended.err.splitlines()[-1].endswith(f" && ganzoo run recipes/brand_new.toml && {tried}")
    assert f"\n{tried}\n```\n" in (tmp_path / "x" / "README.md").read_text(encoding="utf-8")
    command("new-plugin", "ganzoo-brandnew", "--kind", "loss", "--out", tmp_path / "y")
    assert "\nganzoo run recipes/brandnew.toml\n```\n" in (tmp_path / "y" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", OUTLINES)
def test_is_python(kind: str, command: Command, tmp_path: Path):
    command("new-plugin", "ganzoo-brandnew", "--kind", kind, "--out", tmp_path / "x")
    for path in (tmp_path / "x").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        compile(text, str(path), "exec")
        assert "$" not in text
        assert text.startswith('"""')


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("-bad-", "is no name for a distribution"),
        ("ganzoo-3d", "is no name in Python"),
        ("ganzoo-class", "is no name in Python"),
        ("ganzoo-dcgan", 'the distribution "ganzoo-dcgan"'),
        ("json", 'there is a package "json" already'),
        ("ganzoo-builtin", 'the plugin name "builtin" is taken'),
        ("ganzoo-hinge", 'the loss name "hinge" is taken'),
    ],
)
def test_wrong_name(name: str, told: str, command: Command, tmp_path: Path):
    ended = command("new-plugin", "--kind", "loss", "--out", tmp_path / "x", "--", name)
    assert ended.code == 2
    assert told in ended.err
    assert not (tmp_path / "x").exists()


def test_the_name_of_a_command_is_free(command: Command, tmp_path: Path):
    ended = command("new-plugin", "ganzoo-sample", "--kind", "command", "--out", tmp_path / "x")
    assert (ended.code, 'the command name "sample" is taken by the plugin builtin' in ended.err) == (2, True)
    assert not (tmp_path / "x").exists()


def test_folder_that_is_there(command: Command, tmp_path: Path):
    ended = command("new-plugin", "ganzoo-brandnew", "--out", tmp_path)
    assert ended.code == 2
    assert "is there already" in ended.err
