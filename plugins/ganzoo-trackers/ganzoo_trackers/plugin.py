"""Register the trackers with ganzoo."""

from __future__ import annotations

from ganzoo.plugin import Registrar, hookimpl
from ganzoo_trackers import configs


@hookimpl
def register_observers(register: Registrar) -> None:
    """Register each tracker, to be imported when a run has it."""
    register("wandb", "ganzoo_trackers.wandb.tracker:WandbTracker", config=configs.WandbConfig)
    register("tensorboard", "ganzoo_trackers.tensorboard:TensorBoardTracker", config=configs.TensorBoardConfig)
    register("trackio", "ganzoo_trackers.trackio:TrackioTracker", config=configs.TrackioConfig)
    register("mlflow", "ganzoo_trackers.mlflow:MLflowTracker", config=configs.MLflowConfig)
