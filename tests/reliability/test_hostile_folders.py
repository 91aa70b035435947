"""A stranger's folder as the working directory: nothing that lies in it is run, nor does it say where a key goes."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ganzoo
from ganzoo import api

Tables = dict[str, Any]

PROGRAMS = {
    "core.fsmonitor": "{trap}",
    "core.hooksPath": "{folder}",
    "core.sshCommand": "{trap}",
    "core.pager": "{trap}",
    "diff.external": "{trap}",
    "filter.x.clean": "{trap}",
    "filter.x.smudge": "{trap}",
    "filter.x.process": "{trap}",
    "diff.x.textconv": "{trap}",
    "diff.x.command": "{trap}",
}
"""What git's configuration of a repository can name to be run, each a script that leaves a trace."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A repository that names programs in every place, with a file that differs from its commit."""
    folder = tmp_path / "stranger"
    folder.mkdir()

    def git(*arguments: str) -> None:
        subprocess.run(["git", "-C", folder, *arguments], check=True, capture_output=True)

    git("init")
    (folder / "data").write_text("1")
    git("add", "data")
    git("-c", "user.name=x", "-c", "user.email=x", "commit", "-m", "x")
    (folder / "data").write_text("2")
    (folder / ".gitattributes").write_text("* filter=x diff=x\n")
    trap = folder / "post-index-change"
    trap.write_text(f"#!/bin/sh\ntouch {folder / 'ran'}\n")
    trap.chmod(0o755)
    for key, value in PROGRAMS.items():
        git("config", key, value.format(trap=trap, folder=folder))
    return folder


def test_repository_runs_none_of_its_programs(
    folder: Path, tables: Tables, monkeypatch: pytest.MonkeyPatch, command: Callable[..., Any], no_wandb_account: None
):
    tables["tracking"] = {"wandb": {"mode": "offline"}}
    monkeypatch.chdir(folder)
    run = api.run(tables)
    api.resume(run.path, ["run.steps=8"])
    assert command("export", run.path, "--out", folder / "exported").code == 0
    assert not (folder / "ran").exists()
    subprocess.run(["git", "status"], check=False, capture_output=True)
    assert (folder / "ran").exists(), "git runs them"


STARTING = {"subprocess", "pty", "multiprocessing"}
STARTING_OF_OS = ("system", "popen", "exec", "spawn", "posix_spawn", "fork")


def starts_a_program(node: ast.AST) -> bool:
    """Whether a piece of code imports what starts programs, or is a function of `os` that does."""
    if isinstance(node, ast.Import):
        return any(name.name.split(".")[0] in STARTING for name in node.names)
    if isinstance(node, ast.ImportFrom):
        return (node.module or "").split(".")[0] in STARTING
    of_os = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os"
    return of_os and node.attr.startswith(STARTING_OF_OS)  # type: ignore[attr-defined]


def test_nothing_but_a_sweep_starts_a_program():
    """Of the core and its plugins: a sweep, which starts `ganzoo run`."""
    root = Path(ganzoo.__file__).parents[1]
    code = [*root.glob("ganzoo/**/*.py"), *root.glob("plugins/*/ganzoo_*/**/*.py")]
    found = {
        path.relative_to(root).as_posix()
        for path in code
        if any(map(starts_a_program, ast.walk(ast.parse(path.read_text(encoding="utf-8")))))
    }
    assert found == {"ganzoo/sweeps/child_processes.py"}
