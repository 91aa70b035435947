"""A tracker for Trackio."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from contextvars import copy_context
from pathlib import Path
from secrets import token_hex
from typing import Any

from PIL.Image import Image

from ganzoo.plugin import RunDirectory, RunView
from ganzoo_trackers.configs import TrackioConfig
from ganzoo_trackers.facts import facts, fingerprint, forks
from ganzoo_trackers.steps import FILM, GRID, StepTracker

RECORD = "trackio.json"


class TrackioTracker(StepTracker):
    """Logs to Trackio, into its folder for all projects, or where its environment variables say.

    A run is found again by its name there, which `trackio.json` in the run directory holds.
    """

    Config = TrackioConfig
    config: TrackioConfig
    package = extra = "trackio"

    def begin(self, run: RunView) -> Mapping[str, int]:
        """Start the run there, a fork too, or go on with it."""
        import trackio

        record, project = run.directory.read_json(RECORD), self.config.project
        name = record.get("name")
        sent: dict[str, int] = {}
        if run.resumed_from is not None and isinstance(name, str):
            for row in trackio.SQLiteStorage.get_logs(project, name):
                sent |= {key: max(row["step"], sent.get(key, -1)) for key in row}
        config = {**run.recipe.to_dict(), "facts": facts(run)}
        fork = forks(run, record, max(sent.values(), default=-1))
        if fork:
            config["parent"] = {"id": name, "step": run.resumed_from}
        if fork or not isinstance(name, str):
            sent, name = {}, f"{run.recipe.run.name}-{run.directory.path.name}-{token_hex(2)}"
            name += f"-from-step-{run.resumed_from}" if fork else ""
        run.directory.write_json(RECORD, {"project": project, "name": name, "settings": fingerprint(run.recipe)})
        self._run = start(project, name, group=self.config.group or run.recipe.run.name, config=config)
        return sent

    def log(self, step: int, figures: Mapping[str, Any]) -> None:
        """Log figures or media."""
        self._run.log(dict(figures), step=step)

    def picture(self, step: int, grid: Image, caption: str) -> None:
        """Log a grid of samples."""
        import trackio

        self.log(step, {GRID: trackio.Image(grid, caption=caption)})

    def alert(self, step: int, title: str, text: str) -> None:
        """Raise an alert there."""
        with redirect_stdout(sys.stderr):
            self._run.alert(title, text=text, step=step)

    def film(self, step: int, gif: Path) -> None:
        """Log the GIF as a video."""
        import trackio

        self.log(step, {FILM: trackio.Video(gif)})

    def end(self, run: RunView) -> None:
        """Wait until everything is written."""
        with redirect_stdout(sys.stderr):
            self._run.finish()

    def add(self, directory: RunDirectory, step: int, figures: Mapping[str, float]) -> None:
        """Log figures to the run there, with which nothing else begins."""
        record = directory.read_json(RECORD)
        project, name = record.get("project"), record.get("name")
        if not isinstance(project, str) or not isinstance(name, str):
            return
        import trackio

        there = trackio.SQLiteStorage.get_run_config(project, name) or {}  # else an empty one would replace it
        config = {key: value for key, value in there.items() if not key.startswith("_")}
        self._run = start(project, name, group=there.get("_Group"), config=config)
        self.log(step, figures)
        with redirect_stdout(sys.stderr):
            self._run.finish()


def start(project: str, name: str, **options: Any) -> Any:
    """Start the run of a name, or go on with it.

    It does not become Trackio's current run, which may be one of the calling program's own, and which Trackio finishes
    when the program ends, with a line on stdout.
    """
    import trackio

    options |= {"name": name, "resume": "allow", "embed": False, "auto_log_gpu": False, "auto_log_cpu": False}
    with redirect_stdout(sys.stderr):  # where it says how to watch; stdout belongs to the result
        return copy_context().run(trackio.init, project, **options)
