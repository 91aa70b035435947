"""The run directory: a folder with the recipe, metrics, samples, checkpoints and summary of a run."""

from __future__ import annotations

import itertools
import json
import os
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, get_args

from filelock import FileLock, Timeout

from ganzoo.components.metric import Direction
from ganzoo.errors import GanzooError, OutputError, RequestError, RunDirectoryError
from ganzoo.recipe.load import Note, parse_recipe, trusted
from ganzoo.recipe.model import Recipe
from ganzoo.recipe.overrides import Overrides, apply_overrides, override_pairs, plugins_in
from ganzoo.registry.plugin_manager import LocalFile, PluginManager
from ganzoo.storage.disk import expand_user, output_errors, write_atomic, write_text
from ganzoo.text import parse_json, parse_toml, printable, shell_word, to_json
from ganzoo.untrusted import check_contents, read_bytes, read_lines, read_text

PLUGINS = "plugins"
"""Folder of the run's plugin files."""
EVALUATIONS = "evaluation.json"
ALERT = "alert"
LOCK = ".lock"
HOLDER = ".process.json"
"""File that names the holder of the lock; not the locked file, which not every system lets others read."""
REPEATS = "Every option of this run, defaults included. `ganzoo run` on this file repeats it."


def runs_folder(recipe: Recipe) -> Path:
    """Return the folder that a recipe's run directories are made in."""
    return expand_user(recipe.run.root) / recipe.run.name


class RunDirectory:
    """The folder of one run's files; made by `create`, opened by `open`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.samples = path / "samples"
        """Folder of the sample grids."""
        self.checkpoints = path / "checkpoints"
        """Folder of the checkpoints."""
        self.metrics = path / "metrics.jsonl"
        """File of the metrics, one JSON object a line."""

    @classmethod
    def create(cls, recipe: Recipe, files: Sequence[LocalFile] = ()) -> RunDirectory:
        """Make the next numbered folder below `<run.root>/<run.name>`, with the resolved recipe and plugin files.

        Raises:
            RequestError: no folder can be made there.
        """
        parent = runs_folder(recipe)
        try:
            parent.mkdir(parents=True, exist_ok=True)
            taken = [int(path.name) for path in parent.iterdir() if path.name.isdecimal()]
            for number in itertools.count(max(taken, default=0) + 1):
                with suppress(FileExistsError):  # another process took the number in between
                    (parent / f"{number:04d}").mkdir()
                    break
        except OSError as error:
            raise RequestError(
                f"run.root: no run directory can be made in {parent}: {error.strerror}; "
                f"set run.root to a folder that can be written to"
            ) from error
        return cls.lay_out(parent / f"{number:04d}", recipe, files)

    @classmethod
    def lay_out(
        cls, path: Path, recipe: Recipe, files: Sequence[LocalFile] = (), header: str = REPEATS
    ) -> RunDirectory:
        """Turn the empty folder `path` into a run directory, with the recipe under `header` and plugin files."""
        directory = cls(path)
        with output_errors(path):
            directory.samples.mkdir()
            directory.checkpoints.mkdir()
        plugins = recipe.plugins.model_copy(update={"files": tuple(file.name for file in files)})
        directory.write_recipe(recipe.model_copy(update={"plugins": plugins}), header)
        directory.write_plugins(files)
        return directory

    @classmethod
    def open(cls, path: str | Path) -> RunDirectory:
        """Open the run directory at `path`.

        Raises:
            RunDirectoryError: there is none, it cannot be read, a link in it leads out of it, or it holds something
                else than files.
        """
        path = Path(path)
        try:
            if not path.is_dir():
                what = "is a file, not a run directory" if path.is_file() else "there is no such run directory"
                raise RunDirectoryError(f"{path}: {what}")
            if not (path / "recipe.toml").is_file():
                inside = sorted(p.name for p in path.iterdir() if (p / "recipe.toml").is_file())
                hint = f"; runs in it: {', '.join(inside)}" if inside else ""
                raise RunDirectoryError(f"{path}: is not a run directory, it has no recipe.toml{hint}")
            check_contents(path)
        except OSError as error:
            raise RunDirectoryError(f"{path}: cannot be read: {error.strerror or error}") from error
        return cls(path)

    def check_there(self, error: type[GanzooError] = RunDirectoryError) -> None:
        """Check that the folder is still at its path, which may be relative to the working folder.

        Raises:
            RunDirectoryError: it is not there; `error` where another kind is given.
        """
        if not self.path.is_dir():
            raise error(f"{self.path}: is not there any more, or not from this folder: load the run from where it is")

    def read_recipe(self) -> dict[str, Any]:
        """Return the tables of the resolved recipe.

        Raises:
            RunDirectoryError: its file is damaged.
        """
        try:
            return parse_toml(read_text(self.path / "recipe.toml"))
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise RunDirectoryError(f"{self.path / 'recipe.toml'}: cannot be read: {reason}") from error

    def load_recipe(
        self, manager: PluginManager, overrides: Overrides = (), *, trust: bool | None = None, note: Note | None = None
    ) -> tuple[Recipe, PluginManager]:
        """Check the resolved recipe; give the plugins with those of the files that lie in the folder.

        `trust` says whether these files may be imported; None: as `GANZOO_TRUST_PLUGINS` says, which is no by default.
        `note` is called with what overrides made the recipe lose; None: it is printed as a warning.

        Raises:
            RequestError: it has plugin files and is not trusted, or they are not where a run keeps them.
        """
        tables, pairs = self.read_recipe(), override_pairs(overrides)
        files = plugins_in(apply_overrides(tables, pairs), "files")
        for file in files:
            if (self.path / file).resolve().parent != (self.path / PLUGINS).resolve():
                raise RequestError(
                    f"{self.path}: plugins.files: {printable(file)} lies outside the run's own folder {PLUGINS}"
                )
        imported = {file.name for file in manager.files}
        if missing := [file for file in files if Path(file).name not in imported]:
            if not (trusted() if trust is None else trust):
                raise RequestError(
                    f"{self.path}: has plugin files of its own: {', '.join(map(printable, files))}. Opening the run "
                    f"executes these files. If you trust them, add --trust (in Python trust_plugins=True)"
                )
            manager = manager.with_files([self.path / file for file in missing])
        source = str(self.path / "recipe.toml")
        return parse_recipe(tables, manager, pairs, source=source, note=note, foreign=True), manager

    def write_recipe(self, recipe: Recipe, header: str = REPEATS) -> None:
        """Write the resolved recipe under the comment `header`.

        Plugin files are named relative to the run directory, so that it can be moved.
        """
        kept = tuple(f"{PLUGINS}/{Path(file).name}" for file in recipe.plugins.files)
        recipe = recipe.model_copy(update={"plugins": recipe.plugins.model_copy(update={"files": kept})})
        write_text(self.path / "recipe.toml", f"# {header}\n\n{recipe.to_toml()}")

    def write_plugins(self, files: Iterable[LocalFile]) -> None:
        """Keep plugin files as they were imported."""
        for file in files:
            path = self.path / PLUGINS / file.name
            with output_errors(path.parent):
                path.parent.mkdir(exist_ok=True)
            write_atomic(path, partial(Path.write_bytes, data=file.source))

    def changed_plugins(self, recipe: Recipe, manager: PluginManager) -> list[LocalFile]:
        """Return those of the recipe's plugin files that were imported with another content than is kept of them."""
        own = {Path(file).name for file in recipe.plugins.files}
        return [file for file in manager.files if file.name in own and not self._has_plugin(file)]

    def _has_plugin(self, file: LocalFile) -> bool:
        path = self.path / PLUGINS / file.name
        return path.is_file() and path.stat().st_size == len(file.source) and read_bytes(path) == file.source

    def write_json(self, name: str, values: Mapping[str, Any] | Sequence[Any]) -> None:
        """Write a JSON file into the folder, atomically."""
        write_text(self.path / name, to_json(values) + "\n")

    def read_json(self, name: str) -> dict[str, Any]:
        """Return the object in a JSON file of the folder; empty where the file is missing or holds none."""
        try:
            values = parse_json(read_text(self.path / name))
        except (OSError, ValueError):
            return {}
        return values if isinstance(values, dict) else {}

    def append_metrics(self, row: Mapping[str, Any]) -> None:
        """Add one row to the metrics and flush it, so that a kill loses none.

        Raises:
            OutputError: it cannot be written.
        """
        with output_errors(self.metrics), self.metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def read_metrics(self) -> list[dict[str, Any]]:
        """Return all rows of metrics, in order, skipping damaged lines such as a last one cut off by a kill.

        Raises:
            RunDirectoryError: the file cannot be read.
        """
        return [row for row in self._rows() if ALERT not in row]

    def read_alerts(self) -> list[dict[str, Any]]:
        """Return the rows of alerts: "step", and under "alert" its kind, text and remedy."""
        return [row for row in self._rows() if ALERT in row]

    def score_directions(self) -> dict[str, Direction]:
        """Return which values of each evaluated score are better, as its metric says."""
        try:
            evaluations = parse_json(read_text(self.path / EVALUATIONS))
            found = [item for each in evaluations for item in each.get("directions", {}).items()]
            return {name: direction for name, direction in found if direction in get_args(Direction)}
        except (OSError, ValueError, TypeError, AttributeError):  # none yet, or damaged
            return {}

    def _rows(self) -> list[dict[str, Any]]:
        if not self.metrics.exists():
            self.check_there()
            return []
        try:
            return [row for line in read_lines(self.metrics) if (row := _row(line)) is not None]
        except OSError as error:
            raise RunDirectoryError(f"{self.metrics}: cannot be read: {error.strerror or error}") from error

    def cut_metrics_after(self, step: int) -> None:
        """Drop the rows of later steps, which a resumed run repeats."""
        rows = [row for row in self._rows() if row["step"] <= step]
        write_text(self.metrics, "".join(json.dumps(row) + "\n" for row in rows))

    def command(self, verb: str, out: str | None = None) -> str:
        """Return a command on the run as a shell takes it, such as `ganzoo resume runs/gan/0001 --trust`."""
        option = "" if out is None else f" --out {shell_word(out)}"
        trust = " --trust" if (self.path / PLUGINS).is_dir() else ""
        return f"ganzoo {verb} {shell_word(self.path)}{option}{trust}"

    def __str__(self) -> str:
        return str(self.path)


@contextmanager
def run_lock(directory: RunDirectory) -> Iterator[None]:
    """Hold the lock of a run directory, in which one process at a time trains; it ends with the process.

    Raises:
        RunDirectoryError: another process holds it; the text names it.
        OutputError: nothing can be written there.
    """
    directory.check_there(OutputError)  # the lock would make it
    lock = FileLock(directory.path / LOCK)
    with output_errors(directory.path):
        try:
            lock.acquire(timeout=0)
        except Timeout:
            holder = directory.read_json(HOLDER)
            name = f"process {holder['pid']}" if isinstance(holder.get("pid"), int) else "another process"
            host = holder.get("host", platform.node())
            where = f" on {host}" if host != platform.node() else ""
            raise RunDirectoryError(
                f"{directory}: {name}{where} is training in it; wait for its end, or stop it first"
            ) from None
    try:
        directory.write_json(HOLDER, {"pid": os.getpid(), "host": platform.node()})
        yield
    finally:
        (directory.path / HOLDER).unlink(missing_ok=True)
        lock.release()


def _row(line: str) -> dict[str, Any] | None:
    """Parse a line of metrics: numbers by name with "step" among them, or the texts of an alert; None for any other."""
    try:
        row = parse_json(line)
    except ValueError:
        return None
    if not isinstance(row, dict) or not isinstance(row.get("step"), int):
        return None
    alert = row.get(ALERT, {})
    texts = isinstance(alert, dict) and all(isinstance(value, str) for value in alert.values())
    return row if texts and all(type(row[key]) in (int, float) for key in row.keys() - {ALERT}) else None
