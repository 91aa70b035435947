"""Conformance check of metrics."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, get_args

import torch

from ganzoo.builtin.datasets.configs import SyntheticConfig
from ganzoo.builtin.datasets.small_sets import Synthetic
from ganzoo.components.dataset import Dataset, SampleSource
from ganzoo.components.metric import Direction, Metric, MetricInputs, Source
from ganzoo.components.options import VectorDatasetConfig
from ganzoo.components.spec import LabelSpec
from ganzoo.data.packed_dataset import pack_dataset, real_images
from ganzoo.registry.registry import Entry
from ganzoo.testing.fixtures import generator_of_seed, images_for, require, seeded, small_options

COUNT = 32


class LabeledPoints(Dataset):
    """Random points of two dimensions in four classes."""

    Config = VectorDatasetConfig
    config: VectorDatasetConfig

    def fingerprint(self) -> Sequence[object]:
        """Return nothing: the points are always the same."""
        return ()

    def labels(self) -> LabelSpec | None:
        """Return four classes."""
        return LabelSpec.classes("0123")

    def open(self) -> SampleSource:
        """Draw the points."""
        points = torch.randn(COUNT, self.config.size, generator=generator_of_seed(0)).numpy()
        return [(point, index % 4) for index, point in enumerate(points)]


def check_metric(entry: Entry[Any], **options: Any) -> None:
    """Check needs, directions, and that the values are finite and follow from the inputs and the seed alone.

    Raises:
        ConformanceError: with what to change.
    """
    metric: Metric = entry.load()(small_options(entry, options))
    sources, ways = get_args(Source), get_args(Direction)
    require(metric.needs and set(metric.needs) <= {*sources}, f"needs must name some of {', '.join(sources)}")
    require({*metric.directions.values()} <= {*ways}, f"directions must each be one of {', '.join(ways)}")
    dataset = Synthetic(SyntheticConfig(name="synthetic", image_size=16, count=COUNT, num_classes=4))
    with tempfile.TemporaryDirectory() as folder:
        images = pack_dataset(dataset, cache=Path(folder))
        points = pack_dataset(LabeledPoints(VectorDatasetConfig(name="points")), cache=Path(folder))
        for source in sorted(metric.needs):
            training = points if source == "points" else images
            width = 2 if source == "points" else 4
            real, fake = (torch.randn(COUNT, width, generator=generator_of_seed(seed)) for seed in (0, 1))
            if source == "pixels":
                real, fake = real_images(training, torch.arange(COUNT)), images_for(training.info, COUNT)
            inputs = MetricInputs(source, real.clone(), fake.clone(), training)
            values = seeded(partial(metric.compute, inputs))
            unknown = ", ".join(values.keys() - metric.directions.keys())
            require(not unknown, f"gives {unknown}, which directions does not have: add it there")
            for name, value in values.items():
                require(abs(float(value)) < float("inf"), f"the value {name} is {value}")
            require(
                values == seeded(partial(metric.compute, inputs)),
                "gives other values for the same inputs: draw from torch's global generator alone",
            )
            unchanged = torch.equal(inputs.real, real) and torch.equal(inputs.fake, fake)
            require(unchanged, "changes its inputs: work on copies")
            metric.settings(inputs)
