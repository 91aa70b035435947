"""A tracker for MLflow."""

from __future__ import annotations

import logging
import os
import re
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock
from PIL.Image import Image

from ganzoo.plugin import RunDirectory, RunView, say
from ganzoo_trackers.configs import MLflowConfig
from ganzoo_trackers.facts import facts, fingerprint, flat, forks
from ganzoo_trackers.steps import GRID, StepTracker

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

RECORD = "mlflow.json"
SQLITE = "sqlite:///"
"""Beginning of the address of a file, before its path."""
ENDS = {"complete": "FINISHED", "reached": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}
LONGEST_VALUE = 500
"""Most characters of a parameter's value, of those that every MLflow takes."""
LONGEST_NAME = 250
"""Most characters of a metric's name."""


class MLflowTracker(StepTracker):
    """Logs to MLflow's server or file: options as parameters, grids and the film as artifacts.

    A run is found again by its id there, which `mlflow.json` in the run directory holds, and the file.
    """

    Config = MLflowConfig
    config: MLflowConfig
    package = extra = "mlflow"

    def begin(self, run: RunView) -> Mapping[str, int]:
        """Create the run there, a fork too, or go on with it."""
        record = run.directory.read_json(RECORD)
        self._client = client = connect(self._uri(record))
        from mlflow.entities import Param

        uri = client.tracking_uri
        if not uri.startswith("http"):
            say(f"MLflow: mlflow ui --backend-store-uri {uri}")
        number = record.get("run_id")
        sent = self._last_steps(str(number)) if number is not None else {}
        fork = forks(run, record, max(sent.values(), default=-1))
        if number is None or fork:
            there = experiment(client, self.config.experiment)
            name = f"{run.recipe.run.name}/{run.directory.path.name}"
            parent = {"parent": {"id": number, "step": run.resumed_from}} if fork else {}
            name += f" from step {run.resumed_from}" if fork else ""
            sent, number = {}, client.create_run(there, tags=self.config.tags, run_name=name).info.run_id
            described = self.named(dict(flat({**run.recipe.to_dict(), "facts": facts(run), **parent})))
            params = [Param(key, str(value)[:LONGEST_VALUE]) for key, value in described.items()]
            client.log_batch(number, params=params)
        else:
            client.update_run(str(number), status="RUNNING")
        self._id = str(number)
        # One thread of our own: MLflow's queue reports a row that failed on stderr alone, and tries all others.
        self._thread = ThreadPoolExecutor(1)
        self._rows: deque[Future[Any]] = deque()
        place = {"uri": uri, "asked": self._asked} if uri.startswith(SQLITE) else {}  # a server's may have a password
        run.directory.write_json(RECORD, {"run_id": self._id, **place, "settings": fingerprint(run.recipe)})
        client.log_artifact(self._id, str(run.directory.path / "recipe.toml"))
        return sent

    def _last_steps(self, number: str) -> dict[str, int]:
        """Return the last step of each metric and of the grids of a run there."""
        metrics = self._client.get_run(number).data.metrics
        last = {key: max(each.step for each in self._client.get_metric_history(number, key)) for key in metrics}
        files = " ".join(file.path for file in self._client.list_artifacts(number, "images"))
        return last | {GRID: max(map(int, re.findall(r"step[%+](\d+)", files)), default=-1)}

    def named(self, figures: Mapping[str, Any]) -> dict[str, Any]:
        """Return figures, or options, under names without the characters that MLflow refuses."""
        parts = {name: [re.sub(r"[^\w. -]", "_", part) for part in name.split("/") if part] for name in figures}
        return {"/".join(parts[name])[:LONGEST_NAME]: value for name, value in figures.items()}

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Log figures together, in the background, since a commit takes milliseconds.

        Raises:
            Exception: earlier ones could not be logged.
        """
        self._check(lambda row: row.done())
        self._rows.append(self._thread.submit(self._client.log_batch, self._id, as_metrics(step, figures)))

    def _check(self, which: Callable[[Future[Any]], bool]) -> None:
        """Raise what failed among the first rows that `which` takes; the others are not tried then."""
        try:
            while self._rows and which(self._rows[0]):
                self._rows.popleft().result()
        except BaseException:
            self._thread.shutdown(wait=False, cancel_futures=True)
            raise

    def picture(self, step: int, grid: Image, caption: str) -> None:
        """Log a grid of samples, which MLflow shows by its step."""
        self._client.log_image(self._id, grid, key=GRID, step=step)

    def alert(self, step: int, title: str, text: str) -> None:
        """Set a tag, MLflow having no alerts."""
        self._client.set_tag(self._id, f"alert.{title}", f"step {step}: {text}")

    def film(self, step: int, gif: Path) -> None:
        """Log the GIF."""
        self._client.log_artifact(self._id, str(gif), "samples")

    def end(self, run: RunView) -> None:
        """Set how the run ended."""
        self._check(lambda _: True)
        self._thread.shutdown()
        self._client.set_terminated(self._id, ENDS[run.status])

    def add(self, directory: RunDirectory, step: int, figures: Mapping[str, float]) -> None:
        """Log figures to the run there, whose status stays as it is."""
        record = directory.read_json(RECORD)
        number = record.get("run_id")
        if number is not None:
            connect(self._uri(record)).log_batch(str(number), metrics=as_metrics(step, figures))

    @property
    def _asked(self) -> str | None:
        """The server or file that the options, or the environment, name."""
        return self.config.uri or os.environ.get("MLFLOW_TRACKING_URI")

    def _uri(self, record: Mapping[str, Any]) -> str | None:
        """Return the server, or the file by its absolute path.

        The file is that of the run's record where the same is asked for, perhaps from another working directory.
        """
        known, asked = record.get("uri"), self._asked
        if isinstance(known, str) and record.get("asked") == asked and _is_file(known):
            return known
        if asked is not None and asked.startswith(SQLITE):
            return SQLITE + str(Path(asked.removeprefix(SQLITE)).absolute())
        return asked


def _is_file(uri: str) -> bool:
    """Return whether this is the address of a file that is there."""
    return uri.startswith(SQLITE) and Path(uri.removeprefix(SQLITE)).is_file()


def connect(uri: str | None) -> MlflowClient:
    """Return a client of the server or file."""
    # A server that does not answer holds up training for half a minute, and not for MLflow's quarter of an hour.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    import mlflow

    logging.getLogger("mlflow").setLevel(logging.WARNING)  # after the import, which sets it; it tells of a new file
    uri = uri or mlflow.get_tracking_uri()
    # Two runs of a sweep that lay out a new file at once would fail at each other's tables.
    alone = FileLock(f"{uri.removeprefix(SQLITE)}.lock") if uri.startswith(SQLITE) else nullcontext()
    with alone:
        return mlflow.MlflowClient(tracking_uri=uri)


def experiment(client: MlflowClient, name: str) -> str:
    """Return the id of an experiment, which is created if it is not there."""
    from mlflow import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name))
        except MlflowException:
            found = client.get_experiment_by_name(name)
            if found is None:  # else another run has just created it
                raise
    return str(found.experiment_id)


def as_metrics(step: int, figures: Mapping[str, float]) -> list[Metric]:
    """Return figures as MLflow takes them."""
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    return [Metric(key, value, now, step) for key, value in figures.items()]
