"""The commit of the working directory, as git itself tells it, without asking git."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from ganzoo.runtime.environment import describe_software

IDENTITY = {f"GIT_{who}_{what}": "somebody" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


def git(folder: Path, *arguments: str) -> str:
    ended = subprocess.run(
        ["git", "-c", "init.defaultBranch=main", "-C", folder, *arguments],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), **IDENTITY},
    )
    return ended.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    (folder / "inner").mkdir(parents=True)
    git(folder, "init")
    git(folder, "commit", "--allow-empty", "-m", "first")
    return folder


def told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str | None:
    monkeypatch.chdir(folder)
    commit: str | None = describe_software({})["git_commit"]
    return commit


def beside(repository: Path) -> Path:
    """Another worktree of it, with a commit of its own."""
    git(repository, "worktree", "add", "-b", "other", "../beside")
    git(repository.with_name("beside"), "commit", "--allow-empty", "-m", "second")
    return repository.with_name("beside")


def packed(repository: Path) -> Path:
    git(repository, "pack-refs", "--all")
    assert not (repository / ".git/refs/heads/main").exists()
    return repository


def detached(repository: Path) -> Path:
    git(repository, "checkout", "--detach")
    return repository


@pytest.mark.parametrize(
    "place",
    [lambda it: it, lambda it: it / "inner", packed, detached, beside],
    ids=["plain", "inner", "packed", "detached", "beside"],
)
def test_commit_is_gits(place: Callable[[Path], Path], repository: Path, monkeypatch: pytest.MonkeyPatch):
    folder = place(repository)
    expected = git(folder, "rev-parse", "HEAD")
    assert len(expected) == 40
    assert told(folder, monkeypatch) == expected


def test_no_repository_and_none_with_a_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    git(tmp_path, "init")
    assert told(tmp_path, monkeypatch) is None
    monkeypatch.chdir("/")
    assert os.path.lexists("/.git") or describe_software({})["git_commit"] is None


@pytest.mark.parametrize(
    "head", ["ref: refs/../../secret", "ref: ../secret", "ref: refs/secret", "secret", "\0", "ref: "]
)
def test_head_that_leads_elsewhere_gives_no_text(head: str, repository: Path, monkeypatch: pytest.MonkeyPatch):
    for secret in (repository / "secret", repository / ".git/refs/secret", repository.parent / "secret"):
        secret.write_text("a password")
    (repository / ".git/HEAD").write_text(head)
    assert told(repository, monkeypatch) is None


def test_pipe_in_place_of_a_file_does_not_block(repository: Path, monkeypatch: pytest.MonkeyPatch):
    (repository / ".git/HEAD").unlink()
    os.mkfifo(repository / ".git/HEAD")
    assert told(repository, monkeypatch) is None
