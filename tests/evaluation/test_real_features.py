"""Real images that samples are compared with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ganzoo import api

PLUGIN = '''
from ganzoo.plugin import Metric, hookimpl

class Halves(Metric):
    """The brightness of each half of the real images."""

    needs = frozenset({"pixels"})
    directions = {"first": "none", "second": "none"}

    def compute(self, inputs):
        first, second = inputs.real.tensor_split(2)
        return {"first": float(first.mean()), "second": float(second.mean())}

@hookimpl
def register_metrics(register):
    register("halves", Halves)
'''


def test_images_sorted_by_class_are_shuffled(tables: dict[str, Any], tmp_path: Path):
    """A metric may take the first of them, as precision and recall take 10,000."""
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
    assert scores == pytest.approx({"first": 0.0, "second": 0.0}, abs=0.3)
