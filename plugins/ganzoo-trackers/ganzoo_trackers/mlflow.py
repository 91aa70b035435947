"""A tracker for MLflow."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL.Image import Image

from ganzoo.plugin import RunView, say
from ganzoo_trackers.configs import MLflowConfig
from ganzoo_trackers.facts import facts
from ganzoo_trackers.steps import GRID, StepTracker

if TYPE_CHECKING:
    from mlflow.utils.async_logging.run_operations import RunOperations

RECORD = "mlflow.json"
ENDS = {"complete": "FINISHED", "reached": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}
LONGEST_VALUE = 500
"""Most characters of a parameter's value, of those that every MLflow takes."""


class MLflowTracker(StepTracker):
    """Logs to MLflow's server or file: options as parameters, grids and the film as artifacts.

    A run is found again by its id there, which `mlflow.json` in the run directory holds.
    """

    Config = MLflowConfig
    config: MLflowConfig
    package = extra = "mlflow"

    _last: RunOperations | None = None

    def begin(self, run: RunView) -> Mapping[str, int]:
        """Create the run there, or go on with it."""
        # A server that does not answer holds up training for half a minute, and not for MLflow's quarter of an hour.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        logging.getLogger("mlflow").setLevel(logging.WARNING)  # it tells of each table of a new file
        from mlflow import MlflowClient
        from mlflow.entities import Param

        self._client = client = MlflowClient(tracking_uri=self.config.uri)
        uri = client.tracking_uri
        if not uri.startswith("http"):
            say(f"MLflow: mlflow ui --backend-store-uri {uri}")
        number = run.directory.read_json(RECORD).get("run_id")
        self._id = str(number)
        if number is None:
            found = client.get_experiment_by_name(self.config.experiment)
            experiment = found.experiment_id if found else client.create_experiment(self.config.experiment)
            name = f"{run.recipe.run.name}/{run.directory.path.name}"
            self._id = client.create_run(experiment, tags=self.config.tags, run_name=name).info.run_id
            run.directory.write_json(RECORD, {"run_id": self._id})
            described = [*flat(run.recipe.to_dict()), *flat({"facts": facts(run)})]
            client.log_batch(self._id, params=[Param(key, str(value)[:LONGEST_VALUE]) for key, value in described])
        client.log_artifact(self._id, str(run.directory.path / "recipe.toml"))
        return self._there() if number is not None else {}

    def _there(self) -> dict[str, int]:
        """Set the run going again, and return the last step of each metric and of the grids."""
        self._client.update_run(self._id, status="RUNNING")
        metrics = self._client.get_run(self._id).data.metrics
        last = {key: max(each.step for each in self._client.get_metric_history(self._id, key)) for key in metrics}
        files = " ".join(file.path for file in self._client.list_artifacts(self._id, "images"))
        return last | {GRID: max(map(int, re.findall(r"step[%+](\d+)", files)), default=-1)}

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Log figures together."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        rows = [Metric(key, value, now, step) for key, value in figures.items()]
        self._last = self._client.log_batch(self._id, metrics=rows, synchronous=False)  # a commit takes milliseconds

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
        if self._last is not None:
            self._last.wait()
        self._client.set_terminated(self._id, ENDS[run.status])


def flat(tables: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Return every option with its dotted path."""
    found: list[tuple[str, Any]] = []
    for key, value in tables.items():
        found += flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [(f"{prefix}{key}", value)]
    return found
