"""What trackers that show a run by its steps have in common: which events they send, and what a resumed run sends."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

from PIL.Image import Image
from torch import Tensor
from torchvision.transforms.functional import to_pil_image

from ganzoo.plugin import (
    Alert,
    RecipeView,
    RequestError,
    RunDirectory,
    RunView,
    Tracker,
    TrackerConfig,
    hookimpl,
)
from ganzoo.sampling.image_io import GIF
from ganzoo_trackers.facts import SCORE, finite, later_scores, time_to_target

GRID, FILM = "samples/grid", "samples/evolution"


class StepTracker(Tracker):
    """Sends figures, scores, grids of samples, alerts and the film, all on one axis, the training step.

    A resumed run repeats the steps after its checkpoint, with the same figures; what was sent of them is not sent
    again. With other options its figures are others, and it is another run there.
    An error of the library ends the tracking with a warning, as it does for every observer, and not the run.
    """

    package: ClassVar[str]
    """Import name of the library."""
    extra: ClassVar[str]
    """What pip installs for it."""

    def __init__(self, config: TrackerConfig) -> None:
        super().__init__(config)
        self._sent: Mapping[str, int] = {}

    def begin(self, run: RunView) -> Mapping[str, int]:
        """Begin, or go on with a resumed run, and return the last step of each name that is there already."""
        raise NotImplementedError

    def named(self, figures: Mapping[str, float]) -> Mapping[str, float]:
        """Return figures under the names that they have there."""
        return figures

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Send figures, by the names there."""
        raise NotImplementedError

    def picture(self, step: int, grid: Image, caption: str) -> None:
        """Send a grid of samples, as `GRID`."""
        raise NotImplementedError

    def alert(self, step: int, title: str, text: str) -> None:
        """Send an alert of the watchdog's."""
        raise NotImplementedError

    def film(self, step: int, gif: Path) -> None:
        """Send the animation of the grids, as `FILM`."""
        raise NotImplementedError

    def end(self, run: RunView) -> None:
        """Send what is left and note how the run ended."""
        raise NotImplementedError

    def add(self, directory: RunDirectory, step: int, figures: Mapping[str, float]) -> None:
        """Send figures of a run that has ended; nothing where it was not tracked."""

    def send_scores(self, directory: RunDirectory, recipe: RecipeView, step: int, scores: Mapping[str, float]) -> None:
        """Send scores of a later evaluation."""
        if figures := later_scores(directory, recipe, scores):
            self.add(directory, step, self.named(figures))

    @hookimpl
    def run_started(self, run: RunView) -> None:
        """Begin.

        Raises:
            RequestError: the library is not installed.
        """
        if find_spec(self.package) is None:
            where = f"tracking.{self.config.name}"
            raise RequestError(f"{where}: needs {self.package}: pip install {self.extra}, or leave out [{where}]")
        self._sent = self.begin(run)

    @hookimpl
    def step_ended(self, step: int, metrics: Mapping[str, float] | None) -> None:
        """Send the figures of a log point."""
        self._log(step, finite(metrics or {}))

    @hookimpl
    def figures_logged(self, step: int, figures: Mapping[str, float]) -> None:
        """Send what an observer logged."""
        self._log(step, finite(figures))

    @hookimpl
    def metrics_evaluated(self, step: int, scores: Mapping[str, float]) -> None:
        """Send scores."""
        self._log(step, finite(scores, SCORE))

    @hookimpl
    def samples_ready(self, run: RunView, step: int, grid: Tensor | None) -> None:
        """Send a grid of samples."""
        if grid is not None and step > self._sent.get(GRID, -1):
            classes = f"; classes, in turn: {run.sample_classes}" if run.sample_classes else ""
            self.picture(step, to_pil_image(grid), f"step {step}{classes}")

    @hookimpl
    def alert_raised(self, step: int, alert: Alert) -> None:
        """Send an alert."""
        self.alert(step, alert.kind.replace("_", " "), f"{alert.text}. Try {alert.remedy}.")

    @hookimpl
    def run_ended(self, run: RunView) -> None:
        """Send the film, unless the run is to be resumed, and the seconds to the target, and end."""
        gif = run.directory.samples / GIF
        if run.status != "interrupted" and run.recipe.samples.gif and gif.is_file():
            self.film(run.step, gif)
        self._log(run.step, time_to_target(run))
        self.end(run)

    def _log(self, step: int, figures: Mapping[str, float]) -> None:
        new = {name: value for name, value in self.named(figures).items() if step > self._sent.get(name, -1)}
        if new:
            self.log(step, new)
