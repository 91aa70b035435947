"""A server that answers what W&B's client asks, well enough to be taken for one, for the tests."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

KEY = "0123456789abcdef" * 2 + "01234567"


PROJECT = {"id": "project", "internalId": "1", "name": "ganzoo", "entity": {"id": "entity", "name": "somebody"}}
MANIFEST = {
    "version": 1,
    "storagePolicy": "wandb-storage-policy-v1",
    "storagePolicyConfig": {},
    "contents": {"samples/table.table.json": {"digest": "MTIz", "size": 3}},
}
"""Of every artifact, for older clients, which look where their table is."""


class Server(ThreadingHTTPServer):
    """Refuses everything where `status` is not 200, and hangs up where it is `gone`.

    It keeps artifacts only where it `has_artifacts`, and then forks runs and has a Registry unless told otherwise.
    """

    status = 200
    gone = False
    has_artifacts = False
    forks = True
    has_registry = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.runs: list[dict[str, Any]] = []
        self.rows: list[dict[str, Any]] = []
        self.owners: list[str] = []
        """The run of each row."""
        self.headers: list[str] = []
        self.artifacts: list[dict[str, Any]] = []
        """What was asked for to create each artifact; its id is its place in this list, in four digits."""
        self.used: list[str] = []
        """Names of the artifacts that runs use."""
        self.links: list[dict[str, Any]] = []

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep quiet where W&B's process ends in the middle of a request."""

    def named(self, number: str) -> str:
        """The name of the artifact with an id."""
        return str(self.artifacts[int(number)]["artifactCollectionName"])

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
            try:
                answer = {"data": self._data(json.loads(body))}
            except LookupError as error:
                answer = {"errors": [{"message": str(error)}]}
        elif self.path.endswith("file_stream"):
            rows = json.loads(body).get("files", {}).get("wandb-history.jsonl", {}).get("content", [])
            self.server.rows += [json.loads(row) for row in rows]
            self.server.owners += [self.path.split("/")[-2]] * len(rows)
        elif self.path == "/manifest":
            answer = MANIFEST
        text = json.dumps(answer).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_PUT = do_POST

    def _data(self, question: dict[str, Any]) -> dict[str, Any]:
        asked, server = question.get("variables") or {}, self.server
        found = re.search(r"(?:query|mutation)\s+(\w+)", question["query"])
        what, given = found[1] if found else "", asked.get("input") or asked  # older clients have no "input"
        if "TypeInfo" in question["query"]:
            names = ("aliases", "clientID", "sequenceClientID", "enableDigestDeduplication", "tags", "storagePathInfo")
            fields = [{"name": name} for name in names]
            return {"TypeInfo": {"fields": fields, "inputFields": fields}}
        if what == "ServerFeaturesQuery":
            return {"serverInfo": {"features": []}}
        if what == "ArtifactType":
            return {"project": None}  # any type will do
        if what == "UpsertBucket":
            if not server.forks and "branch_point" in (asked.get("config") or ""):
                raise LookupError("forking is not enabled")
            known = any(each["name"] == asked["name"] for each in server.runs)
            server.runs.append(asked)
            project = PROJECT | {"name": asked["project"]}
            bucket = {"id": "run", "name": asked["name"], "config": "{}", "historyLineCount": 0, "project": project}
            return {"upsertBucket": {"inserted": not known, "bucket": bucket}}
        if what == "RunResumeStatus":
            return {"model": {**PROJECT, "bucket": self._bucket(asked["name"])}}
        if re.search(r"\bviewer\b", question["query"]):
            return {"viewer": {"id": "viewer", "username": "somebody", "entity": "somebody", "name": "", "email": "",
                               "admin": False, "flags": "{}", "teams": {"edges": []}}}  # fmt: skip
        if "createRunFiles" in question["query"]:
            return {"createRunFiles": {"runID": "run", "uploadHeaders": [], "files": []}}
        if "Artifact" in what and not server.has_artifacts:
            raise LookupError("there are no artifacts here")
        return self._artifact(what, asked, given)

    def _bucket(self, number: str) -> dict[str, Any] | None:
        """What is known of a run, for one who resumes it."""
        server = self.server
        if not any(each["name"] == number for each in server.runs):
            return None
        rows = [row for name, row in zip(server.owners, server.rows, strict=True) if name == number]
        return {
            "id": "run",
            "name": number,
            "historyLineCount": len(rows),
            "logLineCount": 0,
            "eventsLineCount": 0,
            "historyTail": json.dumps([json.dumps(row) for row in rows[-1:]]),
            "eventsTail": "[]",
            "summaryMetrics": json.dumps(rows[-1] if rows else {}),
            "config": "{}",
            "tags": [],
            "wandbConfig": '{"t": {"value": 1}}',
        }

    def _artifact(self, what: str, asked: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
        server = self.server
        upload = {"uploadUrl": f"{server.url}/upload", "uploadHeaders": [], "uploadMultipartUrls": None}
        file = {"id": "file", "name": "file", "displayName": "file", **upload}
        if what == "CreateArtifact":
            server.artifacts.append(given)
            made = {
                "id": f"{len(server.artifacts) - 1:04d}",
                "state": "PENDING",
                "artifactSequence": {"latestArtifact": None},
            }
            return {"createArtifact": {"artifact": made}}
        if what in ("CreateArtifactManifest", "UpdateArtifactManifest"):
            name = what[0].lower() + what[1:]
            return {name: {"artifactManifest": {"id": "manifest", "displayName": "manifest", "file": file}}}
        if what == "CreateArtifactFiles":
            nodes = [
                {**file, "name": each["name"], "displayName": each["name"], "storagePath": each["name"],
                 "artifact": {"id": each["artifactID"]}}
                for each in given["artifactFiles"]
            ]  # fmt: skip
            return {"createArtifactFiles": {"files": {"edges": [{"node": node} for node in nodes]}}}
        if what == "CommitArtifact":
            return {"commitArtifact": {"artifact": {"id": asked["artifactID"], "digest": "digest"}}}
        if what == "UseArtifact":
            number = given.get("artifactID") or asked["artifactID"]
            server.used.append(server.named(number))
            return {"useArtifact": {"artifact": {"id": number, "digest": "digest"}}}
        if what == "ArtifactByID":
            return {"artifact": self._describe(asked["id"])}
        if what == "FetchOrgInfoFromEntity" and server.has_registry:
            organization = {"name": "organization", "orgEntity": {"name": "organization"}}
            return {"entity": {"organization": organization, "user": None}}
        if what == "LinkArtifact":
            server.links.append(given)
            return {"result": {"versionIndex": 0}}
        if what == "FetchArtifactManifest":
            return {
                "artifact": {"currentManifest": {"id": "manifest", "file": {"directUrl": f"{server.url}/manifest"}}}
            }
        if what == "ArtifactByName":
            found = self._membership(asked)
            return {"project": {"artifact": found and found["artifact"]}}
        if what == "ArtifactMembershipByName":
            return {"project": {"artifactCollectionMembership": self._membership(asked)}}
        return {}

    def _membership(self, asked: dict[str, Any]) -> dict[str, Any] | None:
        """An artifact by its name and alias, or as a version that was linked."""
        server, (name, _, alias) = self.server, asked["name"].partition(":")
        linked = [link["artifactID"] for link in server.links if link["artifactPortfolioName"] == name]
        logged = [
            f"{number:04d}"
            for number, each in enumerate(server.artifacts)
            if each["artifactCollectionName"] == name and alias in {known["alias"] for known in each["aliases"]}
        ]
        if not (found := linked or logged):
            return None
        project = PROJECT | {"name": asked["project"]}
        return {
            "__typename": "ArtifactCollectionMembership",
            "id": "membership",
            "versionIndex": 0,
            "createdAt": "2026-01-01T00:00:00Z",
            "aliases": [],
            "artifactCollection": {"__typename": "ArtifactSequence", "name": name, "project": project},
            "artifact": self._describe(found[-1]),
        }

    def _describe(self, number: str) -> dict[str, Any]:
        """An artifact as the client wants it."""
        given = self.server.artifacts[int(number)]
        collection = {"__typename": "ArtifactSequence", "name": given["artifactCollectionName"], "project": PROJECT}
        return {
            "__typename": "Artifact",
            "id": number,
            "artifactSequence": collection,
            "versionIndex": 0,
            "artifactType": {"name": given["artifactTypeName"]},
            "description": None,
            "metadata": "{}",
            "ttlDurationSeconds": -1,
            "ttlIsInherited": True,
            "tags": [],
            "historyStep": None,
            "state": "COMMITTED",
            "size": 1,
            "digest": "digest",
            "commitHash": "commit",
            "fileCount": 1,
            "createdAt": "2026-01-01T00:00:00Z",
            "updatedAt": None,
            "aliases": [],
        }


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
