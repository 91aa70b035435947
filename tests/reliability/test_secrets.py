"""No secret of the environment gets into a run directory, what it prints, or what it sends as its record."""

from __future__ import annotations

import base64
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from wandb_server import Handler, Server

Tables = dict[str, Any]

# W&B takes 40 characters for a key; the others are what people have in their environment.
KEY = "5ec2e7" + "0f1e2d3c4b5a69788796a5b4c3d2e1f012"
SECRETS = {
    "WANDB_API_KEY": KEY,
    "AWS_SECRET_ACCESS_KEY": "aws-5ec2e7-value",
    "HF_TOKEN": "hf_5ec2e7Value",
    "GITHUB_TOKEN": "ghp_5ec2e7Value",
    "DATABASE_URL": "postgres://me:5ec2e7-password@db/x",
    "MY_OWN_VARIABLE": "anything-5ec2e7-else",
}


class Listening(Server):
    """Keeps every body that it is sent; a key belongs in the header, and nowhere else."""

    def __init__(self) -> None:
        super().__init__()
        self.RequestHandlerClass = Keeping
        self.bodies: list[bytes] = []
        self.authorizations: set[str] = set()


class Keeping(Handler):
    server: Listening

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        self.server.bodies.append(body)
        self.server.authorizations.add(self.headers.get("Authorization", ""))
        self.rfile = _Again(self.rfile, body)
        super().do_POST()
        self.rfile = self.rfile.below

    do_GET = do_PUT = do_POST


class _Again:
    """A stream of which one part is read once more."""

    def __init__(self, below: Any, part: bytes) -> None:
        self.below = below
        self._part = part

    def read(self, size: int) -> bytes:
        return self._part

    def __getattr__(self, name: str) -> Any:
        return getattr(self.below, name)


@pytest.fixture
def listening() -> Iterator[Listening]:
    with Listening() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def secrets(no_wandb_account: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "netrc").write_text(f"machine 127.0.0.1\n  login user\n  password {KEY}\n")
    (tmp_path / "netrc").chmod(0o600)


def leaks(content: bytes) -> list[str]:
    """The variables whose value is in it, as it is or in base64."""
    found = []
    for name, value in SECRETS.items():
        spelled = [value.encode(), *(base64.b64encode(b" " * shift + value.encode())[4:-4] for shift in range(3))]
        found += [name for form in spelled if form in content]
    return found


def leaking(folder: Path) -> list[tuple[str, list[str]]]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 10
    return [(str(path.relative_to(folder)), found) for path in files if (found := leaks(path.read_bytes()))]


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["online", "offline", "failing"])
def test_a_tracked_run(
    tables: Tables,
    recipe_file: Callable[[Tables], Path],
    forked: Callable[..., subprocess.Popen[str]],
    secrets: None,
    listening: Listening,
    monkeypatch: pytest.MonkeyPatch,
    mode: str,
):
    """Its whole directory with W&B's files and logs; its output; all that W&B is sent but the header of a login."""
    monkeypatch.setenv("WANDB_BASE_URL", listening.url)
    tables["tracking"]["wandb"] = {"mode": "offline" if mode == "offline" else "online"}
    if mode == "failing":
        tables["trainer"]["generator_optimizer"] = {"name": "sgd", "lr": 9e18, "weight_decay": 9e18}
    file = recipe_file(tables)
    child = forked("run", file, cwd=file.parent)
    out, err = child.communicate(timeout=200)
    assert child.returncode == (1 if mode == "failing" else 0), err
    run = Path(tables["run"]["root"]) / "tiny/0001"
    assert list(run.glob("wandb/*/*.wandb"))
    assert leaking(run) == []
    assert leaks((out + err).encode()) == []
    assert leaks(b"".join(listening.bodies)) == []
    if mode == "online":
        assert listening.bodies
        assert any(base64.b64encode(f"api:{KEY}".encode()).decode() in header for header in listening.authorizations)


def test_the_search_finds_what_it_is_for():
    for name, value in SECRETS.items():
        assert name in leaks(b"{'x': '" + value.encode() + b"'}")
        assert name in leaks(base64.b64encode(b"api:" + value.encode() + b" and more"))
    assert leaks(b"nothing") == []
