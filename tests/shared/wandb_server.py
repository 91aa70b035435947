"""A server that answers what W&B's client asks, well enough to be taken for one, for the tests."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

KEY = "0123456789abcdef" * 2 + "01234567"


class Server(ThreadingHTTPServer):
    """Refuses everything where `status` is not 200, and hangs up where it is `gone`."""

    status = 200
    gone = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.runs: list[dict[str, Any]] = []
        self.rows: list[dict[str, Any]] = []
        self.headers: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        pass

    def do_POST(self) -> None:
        self.server.headers.append(str(self.headers))
        if self.server.gone:
            self.close_connection = True
            return
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        answer: dict[str, Any] = {}
        if self.path == "/graphql" and self.server.status == 200:
            answer = {"data": self._data(json.loads(body))}
        elif self.path.endswith("file_stream"):
            rows = json.loads(body).get("files", {}).get("wandb-history.jsonl", {}).get("content", [])
            self.server.rows += [json.loads(row) for row in rows]
        text = json.dumps(answer).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_PUT = do_POST

    def _data(self, question: dict[str, Any]) -> dict[str, Any]:
        asked = question.get("variables", {})
        if "mutation UpsertBucket" in question["query"]:
            self.server.runs.append(asked)
            project = {"id": "project", "name": asked["project"], "entity": {"id": "entity", "name": "somebody"}}
            bucket = {"id": "run", "name": asked["name"], "config": "{}", "historyLineCount": 0, "project": project}
            return {"upsertBucket": {"inserted": True, "bucket": bucket}}
        if "createRunFiles" in question["query"]:
            return {"createRunFiles": {"runID": "run", "uploadHeaders": [], "files": []}}
        return {}


@pytest.fixture
def no_wandb_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No key, account or setting of W&B of the one who runs the tests."""
    # Not to be restored after the test: it leads to W&B's process of an earlier one, which may have ended by then.
    os.environ.pop("WANDB_SERVICE", None)
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


@pytest.fixture
def server(no_wandb_account: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server in place of W&B's, with a key for it."""
    with Server() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        yield server
        server.shutdown()
