"""What `wandb.json` of a run directory keeps: the run's id on W&B, where it is there, and the run that it came from."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

from ganzoo.plugin import RunDirectory, RunView
from ganzoo_trackers.facts import fingerprint, forks

RECORD = "wandb.json"
WEIGHTS = "init.json"
"""File of a run directory that says what was taken from another run's weights."""
PLACE = ("id", "name", "artifact", "entity", "project", "url")
"""Entries of a record that say which run it is."""


def identify(run: RunView) -> dict[str, Any]:
    """Return the record of a run after writing it, so that a run that is killed resumes under the same id.

    A new run gets an id, and so does one that forks: it goes on from an earlier step than the last that was sent, with
    other options, so that what W&B has of the later steps is of another run.
    """
    record, settings = run.directory.read_json(RECORD), fingerprint(run.recipe)
    name, step = f"{run.recipe.run.name}/{run.directory.path.resolve().name}", run.resumed_from
    if not record.get("id"):
        record = {"parent": weights_from(run)}
    elif record.get("mode") and forks(run, record, record.get("step")):  # None where an earlier part was killed
        name = f"{name} from step {step}"
        record = {"parent": place(record) | {"step": step}}
    record = {"id": secrets.token_hex(8), "name": name, **record, "settings": settings, "step": None}
    run.directory.write_json(RECORD, record)
    return record


def weights_from(run: RunView) -> dict[str, Any] | None:
    """Return the run whose weights this one starts from, with their step; None where that was not tracked."""
    source = run.recipe.init.source
    record = RunDirectory(Path(source)).read_json(RECORD) if source else {}
    return place(record) | {"step": run.directory.read_json(WEIGHTS).get("step")} if record.get("mode") else None


def place(record: dict[str, Any]) -> dict[str, str | None]:
    """Return the entries of a record that say which run it is; it may be somebody else's."""
    return {key: None if record.get(key) is None else str(record[key])[:200] for key in PLACE}


def artifact_name(run_name: str, number: str) -> str:
    """Return the name of the artifacts that hold the checkpoints of a run."""
    return f"{run_name}-{number}"


def is_on_the_server(directory: RunDirectory, record: dict[str, Any]) -> bool:
    """Return whether W&B's server has the run: it was tracked online, or `wandb sync` has marked its first file."""
    return record.get("mode") == "online" or any((directory.path / "wandb").glob(f"*-{record['id']}/*.synced"))
