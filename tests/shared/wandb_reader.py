"""Reads what a W&B run really recorded from its `.wandb` file, for the tests."""

from __future__ import annotations

import io
import json
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import wandb
from wandb.proto.wandb_internal_pb2 import Record

HEADER_BYTES = 7
BLOCK_BYTES = 32 * 1024
WHOLE, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def has_begun(run: Path) -> bool:
    """Whether W&B tracks the run of that directory: it knows then where the records are."""
    record = run / "wandb.json"
    return record.is_file() and "path" in json.loads(record.read_text())


def kill_service(run: Any = None) -> None:
    """End W&B's own process: an orderly end waits, now and then for ever, for servers that have gone."""
    service = wandb.setup()._connection
    if service is not None:
        service._proc._process.kill()
        service._proc._process.wait()


def forget_service() -> None:
    """Have W&B begin anew, also where its process was killed."""
    with suppress(ConnectionError, SystemExit):  # it leaves with the code of its process
        wandb.teardown()


@dataclass
class Recorded:
    """What the records of one file amount to."""

    run: Any = None
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    metrics: list[Any] = field(default_factory=list)
    artifacts: list[Any] = field(default_factory=list)
    used: list[Any] = field(default_factory=list)
    """Artifacts that the run was made from."""
    tables: list[Any] = field(default_factory=list)
    """Artifacts that W&B makes of tables."""
    alerts: list[Any] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    exit_code: int | None = None
    preempting: bool = False

    def column(self, key: str) -> list[Any]:
        """The values of one key, over the rows that have it."""
        return [row[key] for row in self.history if key in row]

    def used_facts(self) -> dict[str, dict[str, Any]]:
        """What is told of each artifact that the run was made from, by its type."""
        return {each.type: json.loads(each.metadata) for each in self.used}


def read(path: Path) -> Recorded:
    """Gather the records of a `.wandb` file."""
    result = Recorded()
    for record in _records(path):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            result.run = record.run
            result.config.update(_values(record.run.config.update))
        elif kind == "config":
            result.config.update(_values(record.config.update))
        elif kind == "history":
            result.history.append(_values(record.history.item))
        elif kind == "summary":
            result.summary.update(_values(record.summary.update))
        elif kind == "metric":
            result.metrics.append(record.metric)
        elif kind == "artifact":
            artifact = record.artifact
            others = result.tables if artifact.type == "run_table" else result.artifacts
            (result.used if artifact.use_after_commit else others).append(artifact)
        elif kind == "alert":
            result.alerts.append(record.alert)
        elif kind == "files":
            result.files += [file.path for file in record.files.files]
        elif kind == "exit":
            result.exit_code = record.exit.exit_code
        elif kind == "preempting":
            result.preempting = True
    return result


def _values(items: Any) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def _records(path: Path) -> Iterator[Record]:
    """Protobuf records out of LevelDB's log format: blocks of chunks, each with checksum, length and kind."""
    stream = io.BytesIO(path.read_bytes())
    assert stream.read(4) == b":W&B"
    stream.seek(HEADER_BYTES)
    pieces: list[bytes] = []
    while True:
        room = BLOCK_BYTES - stream.tell() % BLOCK_BYTES
        if room < HEADER_BYTES:
            stream.seek(room, io.SEEK_CUR)
        head = stream.read(HEADER_BYTES)
        if len(head) < HEADER_BYTES:
            return
        checksum, length, kind = int.from_bytes(head[:4], "little"), int.from_bytes(head[4:6], "little"), head[6]
        body = stream.read(length)
        assert zlib.crc32(body, zlib.crc32(head[6:])) == checksum
        if kind in (WHOLE, FIRST):
            pieces.clear()
        pieces.append(body)
        if kind in (WHOLE, LAST):
            yield Record.FromString(b"".join(pieces))
