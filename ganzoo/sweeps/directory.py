"""The directory of a sweep: `sweep.json` with its grid and the status of each run, beside the runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import pydantic.dataclasses
import tomli_w
from pydantic import BaseModel, Field, ValidationError

from ganzoo.errors import RequestError, RunDirectoryError
from ganzoo.recipe.overrides import flatten
from ganzoo.storage.disk import output_errors, write_text
from ganzoo.storage.run_directory import RunDirectory
from ganzoo.sweeps.plan import Choice, Plan, names
from ganzoo.text import printable
from ganzoo.untrusted import check_contents, read_text

STATE = "sweep.json"
BASE = "base.toml"
LOGS = "logs"
LEVEL = 2
"""How many folders below a sweep's the run directories are: `<variant>/<number>`."""
UNIMPORTANT = ("tracking", "run.root", "run.seed")
"""Options that may change between two calls of one sweep."""

Status = Literal["waiting", "running", "complete", "interrupted", "failed"]


@pydantic.dataclasses.dataclass(config={"strict": True, "extra": "forbid"})
class Member:
    """One run of a sweep.

    Attributes:
        variant: name of its combination.
        choice: the value of each varied key.
        seed: of the run.
        status: "waiting", "running" or how it ended.
        run: its run directory, relative to the sweep's; empty before it has one.
        error: of a failed run.
        seconds: time that the sweep spent on it, over all attempts.
    """

    variant: str
    choice: dict[str, Any]
    seed: int
    status: Status = "waiting"
    run: str = ""
    error: str = ""
    seconds: float = 0.0

    def __str__(self) -> str:
        return f"{self.variant} seed {self.seed}"


class SweepDirectory(BaseModel, strict=True):
    """The state of a sweep, kept in `path/sweep.json`."""

    path: Path = Field(default=Path(), exclude=True)
    name: str
    source: str
    vary: dict[str, list[Any]]
    runs: list[Member]
    recipe: dict[str, Any]
    plugin_code: dict[str, str]
    """Hash of the files of each plugin that its runs call."""

    @classmethod
    def open(cls, path: Path) -> SweepDirectory:
        """Open the sweep at `path`.

        Raises:
            RunDirectoryError: there is none, its state is damaged, a link in it leads out of it, or it holds something
                else than files.
        """
        check_contents(path, LEVEL)
        file = path / STATE
        try:
            sweep = cls.model_validate_json(read_text(file))
        except (OSError, ValueError) as error:
            told = str(error)
            if isinstance(error, ValidationError):
                wrong = error.errors(include_url=False)[0]
                told = ": ".join(filter(None, (".".join(map(str, wrong["loc"])), wrong["msg"])))
            raise RunDirectoryError(f"{file}: is no state of a sweep, or is damaged: {told}") from error
        for index, member in enumerate(sweep.runs):
            inside = Path(member.variant) / member.run
            if inside.is_absolute() or ".." in inside.parts or len(Path(member.variant).parts) != 1:
                raise RunDirectoryError(
                    f"{file}: is damaged: runs.{index}: {inside} is no run directory of a variant in the sweep"
                )
        sweep.path = path
        return sweep

    @classmethod
    def prepare(cls, path: Path, plan: Plan) -> SweepDirectory:
        """Open the sweep at `path`, or a new one, and add the runs of `plan`, without writing anything.

        Raises:
            RequestError: another sweep or something else is there; the text says what differs.
        """
        if path.is_dir():
            check_contents(path, LEVEL)
        if not (path / STATE).is_file():
            if path.exists() and (not path.is_dir() or any(child.name[0] != "." for child in path.iterdir())):
                raise RequestError(f"{path}: is there already, and no sweep: give the sweep another --name")
            sweep = cls(path=path, name=plan.name, source="", vary={}, runs=[], recipe={}, plugin_code={})
        else:
            sweep = cls.open(path)
            sweep._check_same(plan)
        sweep.source = printable(plan.source)  # a file's name may have bytes that are no text
        sweep.recipe = dict(plan.tables)
        for key, values in plan.vary.items():
            sweep.vary[key] = [*sweep.vary.get(key, ()), *(v for v in values if v not in sweep.vary.get(key, ()))]
        given = {member.variant: member.choice for member in sweep.runs}
        named = names([variant.choice for variant in plan.variants], plan.variants[0].name, {LOGS: None, **given})
        known = {_key(member.choice, member.seed) for member in sweep.runs}
        # Seed by seed, so that the variants of a sweep stopped early are comparable.
        asked = [Member(name, dict(choice), seed) for seed in plan.seeds for name, choice in named.items()]
        sweep.runs += [member for member in asked if _key(member.choice, member.seed) not in known]
        return sweep

    def of(self, plan: Plan) -> list[Member]:
        """Return the members of `plan`, in the order of training."""
        mine = {_key(member.choice, member.seed): member for member in self.runs}
        return [mine[_key(each.choice, seed)] for seed in plan.seeds for each in plan.variants]

    def lay_out(self) -> None:
        """Create the folders, and write the base recipe of all runs."""
        with output_errors(self.path):
            (self.path / LOGS).mkdir(parents=True, exist_ok=True)
        text = f"# What the runs of the sweep {self.name} have in common.\n\n{tomli_w.dumps(self.recipe)}"
        write_text(self.path / BASE, text)
        self.save()

    def save(self) -> None:
        """Write the state, atomically."""
        write_text(self.path / STATE, json.dumps(self.model_dump(), indent=2) + "\n")

    def log(self, member: Member) -> Path:
        """Return the log file of a run's output."""
        return self.path / LOGS / f"{member.variant}-{member.seed}.log"

    def find_run(self, member: Member) -> RunDirectory | None:
        """Find the run directory of a member: the newest with its seed in its variant's folder."""
        folder = self.path / member.variant
        if not folder.is_dir():
            return None
        numbered = [path for path in folder.iterdir() if path.name.isdecimal()]
        for path in sorted(numbered, key=lambda path: int(path.name), reverse=True):
            try:
                run = RunDirectory.open(path)
                if run.read_recipe()["run"]["seed"] == member.seed:
                    return run
            except (RunDirectoryError, KeyError, TypeError):
                continue  # created a moment ago, or not by a sweep
        return None

    def _check_same(self, plan: Plan) -> None:
        if set(self.vary) != set(plan.vary):
            raise RequestError(
                f"{self.path}: this sweep varies {', '.join(self.vary) or 'nothing'}, "
                f"and not {', '.join(plan.vary) or 'nothing'}: give the other sweep a --name of its own"
            )
        before, now = dict(flatten(self.recipe)), dict(flatten(plan.tables))
        free = tuple(f"{key}." for key in (*UNIMPORTANT, *plan.vary))
        changed = [
            f"{key} was {_shown(before.get(key))} and is {_shown(now.get(key))}"
            for key in sorted(before.keys() | now.keys())
            if before.get(key) != now.get(key) and not f"{key}.".startswith(free)
        ]
        if changed:
            raise RequestError(
                f"{self.path}: the recipe has changed since this sweep was begun: {'; '.join(changed)}. "
                f"Give the new sweep a --name of its own"
            )


def _key(choice: Choice, seed: int) -> tuple[str, int]:
    """Return the identity of the run with a choice and a seed."""
    return json.dumps(choice, sort_keys=True), seed


def _shown(value: Any) -> str:
    return "not set" if value is None else json.dumps(value, ensure_ascii=False)
