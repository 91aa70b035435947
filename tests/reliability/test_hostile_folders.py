"""A stranger's folder as the working directory: nothing that lies in it is run, nor does it say where a key goes."""

from __future__ import annotations

import ast
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb
from ganzoo_trackers.wandb.session import check_settings
from wandb_server import KEY, Server

import ganzoo
from ganzoo import api
from ganzoo.errors import GanzooError

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


def test_what_starts_a_program():
    """Of the core and its plugins: a sweep starts `ganzoo run`, and `bench --under-load` this Python, to be busy."""
    root = Path(ganzoo.__file__).parents[1]
    code = [*root.glob("ganzoo/**/*.py"), *root.glob("plugins/*/ganzoo_*/**/*.py")]
    found = {
        path.relative_to(root).as_posix()
        for path in code
        if any(map(starts_a_program, ast.walk(ast.parse(path.read_text(encoding="utf-8")))))
    }
    assert found == {"ganzoo/sweeps/child_processes.py", "plugins/ganzoo-bench/ganzoo_bench/measure.py"}


@pytest.fixture
def stranger(server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Another server in place of W&B's, which a folder names; the user has a key."""
    monkeypatch.delenv("WANDB_BASE_URL")
    (folder / "wandb").mkdir()
    with Server() as stranger:
        threading.Thread(target=stranger.serve_forever, daemon=True).start()
        (folder / "wandb/settings").write_text(f"[default]\nbase_url = {stranger.url}\nentity = somebody\n")
        yield stranger
        stranger.shutdown()


def has_the_key(server: Server) -> bool:
    """Whether a server was asked anything, which comes with the key."""
    return any("authorization" in headers.lower() for headers in server.headers)


@pytest.fixture
def train(tables: Tables, recipe_file: Callable[[Tables], Path], process: Callable[..., Any], folder: Path) -> Any:
    """Train a tracked run in the stranger's folder, in a process of its own; gives what it says."""
    tables["tracking"] = {"wandb": {"mode": "auto"}}
    path = recipe_file(tables)

    def train() -> str:
        child = process("run", path, cwd=folder)
        said: str = child.communicate(timeout=120)[1]
        assert child.returncode == 0
        return said

    return train


@pytest.mark.slow
def test_folder_does_not_say_where_the_key_goes(stranger: Server, train: Callable[[], str]):
    said = train()
    assert not has_the_key(stranger)
    assert stranger.headers == []
    (line,) = [line for line in said.splitlines() if "W&B: tracking is off: " in line]
    assert f"wandb/settings in the working directory sets base_url = '{stranger.url}'" in line
    assert KEY not in said


@pytest.mark.slow
def test_server_of_the_environment_is_stronger(
    stranger: Server, server: Server, train: Callable[[], str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("WANDB_BASE_URL", server.url)
    train()
    assert stranger.headers == []
    assert has_the_key(server)


@pytest.mark.slow
def test_server_of_the_users_own_file_is_taken(stranger: Server, train: Callable[[], str], tmp_path: Path):
    """Which the folder may name too; so does `wandb init` in one's own."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config/settings").write_text(f"[default]\nbase_url = {stranger.url}/\n")
    train()
    assert has_the_key(stranger)


@pytest.mark.parametrize("name", ["wandb", ".wandb"])
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[default]\nbase_url = http://127.0.0.1:9\n", "sets base_url = 'http://127.0.0.1:9'"),
        ("[DEFAULT]\nbase_url = http://127.0.0.1:9\n[default]\n", "sets base_url = 'http://127.0.0.1:9'"),
        ("[default]\nBASE_URL: http://\x1b[2J\n", r"sets base_url = 'http://\x1b[2J'"),
        ("[default]\nhttp_proxy = http://127.0.0.1:9\n", "sets 'http_proxy'"),
        ("[default]\nidentity_token_file = /etc/hostname\n", "sets 'identity_token_file'"),
        ("[default]\napi_key = secret\n", "sets 'api_key'"),
        ("[default]\nx = %(y)s\n", "cannot be read"),
        ("no settings", "cannot be read"),
    ],
)
def test_settings_of_a_folder_are_refused(
    tmp_path: Path, no_wandb_account: None, monkeypatch: pytest.MonkeyPatch, name: str, text: str, told: str
):
    (tmp_path / name).mkdir()
    (tmp_path / name / "settings").write_text(text)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(GanzooError) as caught:
        check_settings()
    assert told in str(caught.value)
    assert "secret" not in str(caught.value)
    assert str(caught.value).isprintable()


def test_settings_that_are_a_pipe_do_not_block(tmp_path: Path, no_wandb_account: None, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "wandb").mkdir()
    os.mkfifo(tmp_path / "wandb/settings")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(GanzooError, match="it is a pipe, not a file"):
        check_settings()


@pytest.mark.parametrize("address", ["https://api.wandb.ai", "https://api.wandb.ai/", wandb.Settings().base_url])
def test_settings_of_wandb_init_are_taken(
    tmp_path: Path, no_wandb_account: None, monkeypatch: pytest.MonkeyPatch, address: str
):
    (tmp_path / "wandb").mkdir()
    (tmp_path / "wandb/settings").write_text(f"[default]\nentity = me\nproject = x\nbase_url = {address}\n")
    monkeypatch.chdir(tmp_path)
    check_settings()


def test_commands_that_read_from_wandb_look_too(
    stranger: Server, folder: Path, monkeypatch: pytest.MonkeyPatch, command: Callable[..., Any], tables: Tables
):
    run = api.run(tables)
    monkeypatch.chdir(folder)
    ended = command("compare", run.path, "--wandb")
    assert ended.code == 1
    assert "sets base_url" in ended.err
    assert stranger.headers == []
