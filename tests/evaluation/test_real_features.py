"""Real images that samples are compared with, and images of a folder in the place of samples."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from ganzoo import api
from ganzoo.components.dataset import StoredImages
from ganzoo.components.extractor import Extractor
from ganzoo.components.options import ExtractorConfig
from ganzoo.components.spec import DatasetInfo, ImageSpec
from ganzoo.data.packed_dataset import PackedDataset
from ganzoo.evaluation.real_features import features_of_real

PLUGIN = '''
from ganzoo.plugin import Metric, hookimpl

class Halves(Metric):
    """The brightness of each half of the real images and of the samples."""

    needs = frozenset({"pixels"})
    directions = dict.fromkeys(("real_first", "real_second", "fake_first", "fake_second"), "none")

    def compute(self, inputs):
        halves = (*inputs.real.tensor_split(2), *inputs.fake.tensor_split(2))
        return {name: float(half.mean()) for name, half in zip(self.directions, halves)}

@hookimpl
def register_metrics(register):
    register("halves", Halves)
'''


def test_images_sorted_by_class_are_shuffled(tables: dict[str, Any], tmp_path: Path):
    """A metric may take the first of them, as precision and recall take 10,000, and compares no image with its own."""
    for brightness, name in ((0, "black"), (255, "white")):
        (tmp_path / "images" / name).mkdir(parents=True)
        for index in range(100):
            Image.new("RGB", (16, 16), (brightness,) * 3).save(tmp_path / "images" / name / f"{index}.png")
    (tmp_path / "halves.py").write_text(PLUGIN)
    tables |= {
        "dataset": {"name": "image_folder", "root": str(tmp_path / "images"), "image_size": 16},
        "plugins": {"files": [str(tmp_path / "halves.py")]},
        "evaluation": {"samples": 8, "metrics": ["halves"]},
    }
    run = api.run(tables, ["run.steps=1"])
    scores = api.evaluate(api.load_run(run.path, trust_plugins=True)).scores
    even = pytest.approx({"real_first": 0.0, "real_second": 0.0}, abs=0.3)
    assert {name: value for name, value in scores.items() if name.startswith("real")} == even
    of_folder = api.evaluate_images(tmp_path / "images", tables).scores
    assert of_folder == pytest.approx(dict.fromkeys(scores, 0.0), abs=0.3)
    assert of_folder["fake_first"] != of_folder["real_first"]


class PowerConfig(ExtractorConfig):
    exponent: float = 1.0

    @property
    def label(self) -> str:
        return "power"


class Power(Extractor):
    """The mean of an image's pixels to a power, times a weight; counts the images that it is given."""

    Config = PowerConfig
    config: PowerConfig

    def __init__(self, info: DatasetInfo, weight: float = 1.0, **options: Any) -> None:
        super().__init__(PowerConfig(name="power", **options), info=info)
        self.register_buffer("weight", torch.tensor(weight))
        self.seen = 0

    def prepare(self, real: StoredImages) -> None:
        pass

    def features(self, images: Tensor) -> Tensor:
        self.seen += len(images)
        return self.weight * ((images + 1) / 2).mean((1, 2, 3))[:, None] ** self.config.exponent


def test_features_are_kept_for_the_same_pixels_weights_and_options_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path))
    info, cpu = DatasetInfo(ImageSpec(1, 2, 2)), torch.device("cpu")
    packed = PackedDataset(np.full((3, 2, 2, 1), 51, np.uint8), None, info, (), Path(), "key", checksum=1)
    changed = replace(packed, images=np.full((3, 2, 2, 1), 255, np.uint8), checksum=2)
    for made, given, most, expected in (
        (Power(info), packed, None, [0.2] * 3),
        (Power(info), changed, None, [1.0] * 3),
        (Power(info, exponent=2.0), packed, None, [0.04] * 3),
        (Power(info, weight=3.0), packed, None, [0.6] * 3),
        (Power(info), packed, 2, [0.2] * 2),
    ):
        for count in (len(expected), 0):
            made.seen = 0
            assert features_of_real(made, given, most, cpu).flatten().tolist() == pytest.approx(expected)
            assert made.seen == count


def test_features_are_computed_anew_where_the_file_of_the_extractor_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path))
    module = ModuleType("edited")
    module.__file__ = str(tmp_path / "edited.py")
    monkeypatch.setitem(sys.modules, "edited", module)
    edited = type("Edited", (Power,), {"__module__": "edited"})
    info, cpu = DatasetInfo(ImageSpec(1, 2, 2)), torch.device("cpu")
    packed = PackedDataset(np.full((3, 2, 2, 1), 51, np.uint8), None, info, (), Path(), "key", checksum=1)
    for text, seen in (("first", 3), ("first", 0), ("second", 3), ("first", 0)):
        Path(module.__file__).write_text(text)
        made = edited(info)
        features_of_real(made, packed, None, cpu)
        assert made.seen == seen
