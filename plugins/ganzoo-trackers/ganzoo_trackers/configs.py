"""Options of the trackers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from ganzoo.plugin import Problem, RecipeView, TrackerConfig


class WandbConfig(TrackerConfig):
    """Tracking on Weights & Biases."""

    by_default = True
    off: ClassVar[Mapping[str, Any]] = {"mode": "disabled"}
    flags: ClassVar[Mapping[str, str]] = {
        "sweep": "Run nothing; register the sweep on W&B, for agents to run.",
        "compare": "Build the workspace and a report on W&B.",
    }

    mode: Literal["auto", "online", "offline", "disabled"] = "auto"
    """auto: WANDB_MODE if set, else online if an API key is known, else offline; never a prompt."""
    project: str = "ganzoo"
    """Project on W&B."""
    entity: str | None = None
    """User or team; default: the account's default."""
    group: str | None = None
    """Group of runs shown together; default: the run's name, so that its seeds form a group."""
    job_type: str = "train"
    """Kind of run within the group."""
    tags: tuple[str, ...] = ()
    """Tags in addition to those that ganzoo sets."""
    objective: str | None = None
    """Metric that is sent as `objective` too; a sweep that optimizes it sets this."""
    checkpoints: Literal[False, True, "best", "all"] = False
    """Upload checkpoints as artifacts. true: at the end of the run, the last one and, if `checkpoint.best` names a
    score, the best; "best": only the best; "all": each one when it is saved."""
    registry: str | None = None
    """Registry, such as "model", to which the best uploaded checkpoint is linked, or the last one if none is best; the
    collection has the name of the run, unless you add another name: "model/digits"."""
    table: bool = True
    """Upload a table of the last samples, 64 at most, each with its label."""

    @property
    def enabled(self) -> bool:
        """Whether the mode is another than "disabled"."""
        return self.mode != "disabled"

    def check_recipe(self, recipe: RecipeView) -> Iterator[Problem]:
        """Yield that there is no best checkpoint to send, or none to link to the Registry."""
        if self.registry is not None and self.checkpoints is False:
            yield Problem("registry", 'links a checkpoint that is sent, and checkpoints is false: take "best" or true')
        if self.checkpoints == "best" and recipe.checkpoint.best is None:
            needs = 'is "best", which nothing says: name the score to go by in checkpoint.best, or take true'
            yield Problem("checkpoints", needs)

    def sweep_options(self, sweep: str, variant: str = "", choice: Sequence[str] = ()) -> Mapping[str, Any]:
        """Return the sweep as the group, the variant as the kind of run, and both with the choice as tags."""
        group = {"group": sweep}
        return group | {"job_type": variant, "tags": [*self.tags, f"sweep:{sweep}", *choice]} if variant else group


class TensorBoardConfig(TrackerConfig):
    """What TensorBoard shows, in the folder `tensorboard` of the run directory."""


class TrackioConfig(TrackerConfig):
    """Tracking on Trackio, on this machine unless its environment variables say otherwise."""

    project: str = "ganzoo"
    """Project in which the run is shown."""
    group: str | None = None
    """Group of runs shown together; default: the run's name."""

    def sweep_options(self, sweep: str, variant: str = "", choice: Sequence[str] = ()) -> Mapping[str, Any]:
        """Return the sweep as the group."""
        return {"group": sweep}


class MLflowConfig(TrackerConfig):
    """Tracking on MLflow, in the file `mlflow.db` of the working directory unless there is a server."""

    uri: str | None = None
    """Server or database; default: MLFLOW_TRACKING_URI, else the file."""
    experiment: str = "ganzoo"
    """Experiment that the run belongs to."""
    tags: dict[str, str] = Field(default_factory=dict)
    """Tags of the run."""

    def sweep_options(self, sweep: str, variant: str = "", choice: Sequence[str] = ()) -> Mapping[str, Any]:
        """Return the sweep and the variant as tags."""
        return {"tags": {**self.tags, "sweep": sweep, **({"variant": variant} if variant else {})}}
