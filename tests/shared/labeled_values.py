"""A run whose generator takes attributes or continuous values, by a plugin file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image

from ganzoo import api
from ganzoo.sampling.trained_run import TrainedRun

VALUES = """
from typing import ClassVar

from torch import Tensor, nn

from ganzoo.plugin import Generator, GeneratorConfig, hookimpl


class OfLabelsConfig(GeneratorConfig):
    uses: ClassVar = frozenset({"labels"})


class OfLabels(Generator):
    "Brightness out of latents and labels."

    Config = OfLabelsConfig

    def __init__(self, config, *, info):
        super().__init__(config, info=info)
        self.first, self.second = nn.Linear(config.latent_dim, 1), nn.Linear(len(info.labels.names), 1)

    def forward(self, latents: Tensor, *, labels: Tensor) -> Tensor:
        level = (self.first(latents) + self.second(labels)).tanh()
        return level[:, :, None, None].expand(-1, *self.info.image.shape)


@hookimpl
def register_architectures(register):
    register("of_labels", OfLabels)
"""


def train_values(place: Path, tables: dict[str, Any], kind: str) -> TrainedRun:
    """Train one step on four gray images with the attributes or values smile and hat."""
    (place / "values.py").write_text(VALUES)
    images = place / "images"
    images.mkdir()
    rows = [f"{index}.png,{index % 2},{int(index > 1)}" for index in range(4)]
    for index in range(4):
        Image.new("L", (16, 16), 60 * index).save(images / f"{index}.png")
    (images / "labels.csv").write_text("\n".join(["file,smile,hat", *rows]))
    tables["plugins"] = {"files": [str(place / "values.py")]}
    tables["dataset"] = {
        "name": "image_folder", "root": str(images), "image_size": 16, "channels": 1,
        "labels": "labels.csv", "label_kind": kind,
    }  # fmt: skip
    tables["generator"] = {"name": "of_labels", "latent_dim": 4}
    return api.run(tables, ["run.steps=1", "samples.every=1", "trainer.batch_size=4"])
