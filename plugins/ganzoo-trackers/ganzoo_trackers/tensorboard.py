"""A tracker for TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL.Image import Image
from torchvision.transforms.functional import pil_to_tensor

from ganzoo.plugin import RunDirectory, RunView, open_file, read_text, say
from ganzoo.sampling.image_io import open_picture
from ganzoo_trackers.configs import TensorBoardConfig
from ganzoo_trackers.steps import FILM, GRID, StepTracker

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

FOLDER = "tensorboard"
FLUSH_SECONDS = 5
"""Longest time that an event waits in memory."""


class TensorBoardTracker(StepTracker):
    """Writes events into the folder `tensorboard` of the run directory.

    The events of a resumed run replace those of the same steps, which TensorBoard then leaves out.
    """

    Config = TensorBoardConfig
    package, extra = "tensorboard", "tensorboard"

    def begin(self, run: RunView) -> Mapping[str, int]:
        """Open a file of events, and write the recipe into it."""
        from torch.utils.tensorboard import SummaryWriter

        folder = run.directory.path / FOLDER
        purge = None if run.resumed_from is None else run.resumed_from + 1
        self._writer = SummaryWriter(str(folder), purge_step=purge, flush_secs=FLUSH_SECONDS)
        recipe = read_text(run.directory.path / "recipe.toml")
        self._writer.add_text("recipe", "    " + recipe.replace("\n", "\n    "), run.step)
        say(f"TensorBoard: tensorboard --logdir {run.recipe.run.root}")
        return {}

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Write figures."""
        write(self._writer, step, figures)

    def picture(self, step: int, grid: Image, caption: str) -> None:
        """Write a grid of samples; TensorBoard shows no captions."""
        self._writer.add_image(GRID, pil_to_tensor(grid), step)

    def alert(self, step: int, title: str, text: str) -> None:
        """Write an alert as a text."""
        self._writer.add_text("alert", f"{title}: {text}", step)

    def film(self, step: int, gif: Path) -> None:
        """Write the GIF as a picture, which a browser plays."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        with open_picture(gif, "GIF") as opened:
            width, height = opened.size
        with open_file(gif) as file:
            image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=file.read())
        writer: Any = self._writer.file_writer  # torch's types have None alone
        writer.add_summary(Summary(value=[Summary.Value(tag=FILM, image=image)]), step)

    def end(self, run: RunView) -> None:
        """Close the file of events."""
        self._writer.close()

    def add(self, directory: RunDirectory, step: int, figures: Mapping[str, float]) -> None:
        """Write figures into a file of events of their own."""
        folder = directory.path / FOLDER
        if folder.is_dir():
            from torch.utils.tensorboard import SummaryWriter

            with SummaryWriter(str(folder)) as writer:
                write(writer, step, figures)


def write(writer: SummaryWriter, step: int, figures: Mapping[str, float]) -> None:
    """Write figures, each as a scalar."""
    for name, value in figures.items():
        writer.add_scalar(name, value, step)
