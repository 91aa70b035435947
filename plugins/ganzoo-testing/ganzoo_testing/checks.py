"""Conformance checks of datasets, extractors, metrics and observers."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ganzoo.plugin import (
    DataError,
    Dataset,
    Entry,
    Extractor,
    LabelSpec,
    Metric,
    MetricInputs,
    PluginError,
    SampleReader,
    SampleSource,
    UnfitDataError,
    VectorDatasetConfig,
    check_hooks,
    pack_dataset,
    plugin_manager,
    real_images,
)
from ganzoo_testing.fixtures import (
    BATCH,
    ConformanceError,
    generator_of_seed,
    require,
    samples_for,
    seeded,
    small_info,
    small_options,
)

LOOKED_AT = 8
"""Images of a dataset that are looked at."""
COUNT = 32
"""Samples that a metric scores."""


def check_dataset(entry: Entry, **options: Any) -> None:
    """Check samples, labels, fingerprint and packing.

    Raises:
        DataError: its data are missing; nothing is downloaded.
        ConformanceError: with what to change.
    """
    config = small_options(entry, options)
    cls = entry.load()
    dataset: Dataset = cls(config)
    dataset.prepare()
    reader, second = SampleReader(dataset), SampleReader(dataset)
    require(len(reader) > 0, "open gives no samples")
    require(len(reader) == len(second), "open gives another number of samples the second time")
    for index in range(min(LOOKED_AT, len(reader))):
        try:
            *arrays, label = reader.read(index)
        except (ValueError, DataError) as error:
            raise ConformanceError(f"sample {index} {error}") from error
        *others, other_label = second.read(index)
        same = all(map(np.array_equal, [*arrays, label], [*others, other_label]))
        require(same, f"sample {index} differs between two calls of open: fix its order, and the seed of what is drawn")
        require(isinstance(dataset.describe(index), str), "describe must give text")
    other: Dataset = cls(config)
    other.prepare()
    require(
        list(map(str, dataset.fingerprint())) == list(map(str, other.fingerprint())),
        "fingerprint gives other values for the same data: it would be packed anew for every run",
    )
    with tempfile.TemporaryDirectory() as folder:
        packed = pack_dataset(dataset, cache=Path(folder))
        require(len(packed) > 0 and packed.info == reader.info, "its pack has other samples than open gives")
        again = pack_dataset(other, cache=Path(folder))
        require(again.key == packed.key, "is packed anew when nothing has changed: look at fingerprint")
        del packed, again  # they are memory-mapped, and the folder is removed


def _synthetic(**options: Any) -> Dataset:
    """Return made-up images of the core's."""
    entry = plugin_manager().registries.datasets["synthetic"]
    dataset: Dataset = entry.load()(entry.config(name=entry.name, **options))
    return dataset


def check_extractor(entry: Entry, **options: Any) -> None:
    """Check features, logits and digest, and that an image's features do not depend on the rest of the batch.

    Raises:
        DataError: its weights are missing, or it is made for other images than the synthetic ones.
        ConformanceError: with what to change.
    """
    config = small_options(entry, options)
    info = small_info(config)
    cls = entry.load()
    extractor: Extractor = cls(config, info=info)
    dataset = _synthetic(image_size=info.image.size, channels=info.image.channels, count=64, num_classes=10)
    with tempfile.TemporaryDirectory() as folder:
        before = torch.get_rng_state()
        try:
            extractor.prepare(pack_dataset(dataset, cache=Path(folder)))
        except UnfitDataError as error:
            raise DataError(str(error)) from error
        require(torch.equal(before, torch.get_rng_state()), "prepare draws from the process's random numbers")
    images = samples_for(info)
    with torch.no_grad():
        features = extractor.features(images)
        require(
            isinstance(features, Tensor) and features.ndim == 2 and len(features) == BATCH,
            f"features gives {tuple(features.shape)} for {BATCH} images: give (N, D)",
        )
        require(features.isfinite().all(), "features are not finite")
        require(torch.equal(features, extractor.features(images)), "features of the same images change")
        alone = torch.cat([extractor.features(image[None]) for image in images])
        require(
            torch.allclose(features, alone, rtol=1e-3, atol=1e-4 * float(features.abs().max())),
            "features of an image depend on the others: fix the statistics of batch norm, in `prepare`",
        )
        logits = extractor.logits(features)
    require(logits is None or (logits.ndim == 2 and len(logits) == BATCH), "logits must give (N, classes), or None")
    require(
        not extractor.names_classes or (logits is not None and logits.shape[1] == info.num_classes),
        "names_classes says that logits are over the dataset's classes, and there are not as many",
    )
    require(extractor.digest() == extractor.digest() != "", "digest must be the same for the same weights")
    require(extractor.label.isidentifier(), f'label "{extractor.label}" is no word that a score can end with')
    require(extractor.label == extractor.config.label, "label is not that of the options: override it there")


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


def check_metric(entry: Entry, **options: Any) -> None:
    """Check needs, directions, and that the values are finite and follow from the inputs and the seed alone.

    Raises:
        ConformanceError: with what to change.
    """
    metric: Metric = entry.load()(small_options(entry, options))
    known = metric.class_count in ("", *metric.directions)
    require(known, f'class_count is "{metric.class_count}", which directions does not have: name one of its values')
    dataset = _synthetic(image_size=16, count=COUNT, num_classes=4)
    with tempfile.TemporaryDirectory() as folder:
        images = pack_dataset(dataset, cache=Path(folder))
        points = pack_dataset(LabeledPoints(VectorDatasetConfig(name="points")), cache=Path(folder))
        for source in sorted(metric.needs):
            training = points if source == "points" else images
            width = 2 if source == "points" else 4
            real, fake = (torch.randn(COUNT, width, generator=generator_of_seed(seed)) for seed in (0, 1))
            if source == "pixels":
                real, fake = real_images(training, torch.arange(COUNT)), samples_for(training.info, COUNT)
            inputs = MetricInputs(source, real, fake, training)
            classes = torch.arange(COUNT) % training.info.num_classes
            targets = real if source in ("pixels", "points") else None
            _check_values(metric, inputs)
            _check_values(metric, replace(inputs, labels=classes, targets=targets, held_out=training, details={}))


def _check_values(metric: Metric, inputs: MetricInputs) -> None:
    tensors = [each for each in vars(inputs).values() if isinstance(each, torch.Tensor)]
    before = [each.clone() for each in tensors]
    values = seeded(partial(metric.compute, inputs))
    unknown = ", ".join(values.keys() - metric.directions.keys())
    require(not unknown, f"gives {unknown}, which directions does not have: add it there")
    for name, value in values.items():
        require(abs(float(value)) < float("inf"), f"the value {name} is {value}")
    require(
        values == seeded(partial(metric.compute, inputs)),
        "gives other values for the same inputs: draw from torch's global generator alone",
    )
    require(all(map(torch.equal, before, tensors)), "changes its inputs: work on copies")
    for name, value in metric.settings(inputs).items():
        require(isinstance(value, int | float | str), f"settings gives {name} as {value!r}: give a number or text")
    try:
        json.dumps(inputs.details)
    except TypeError as error:
        raise ConformanceError(f"puts into details what no JSON file holds: {error}") from error


def check_observer(entry: Entry, **options: Any) -> None:
    """Check that it is built from its options and that its marked methods are hooks.

    Raises:
        ConformanceError: with what to change.
    """
    observer = entry.load()(small_options(entry, options))
    try:
        check_hooks(observer)
    except PluginError as error:
        raise ConformanceError(str(error)) from error
    hears = [name for name in dir(type(observer)) if hasattr(getattr(type(observer), name), "ganzoo_impl")]
    require(hears, "hears of no event: mark methods such as step_ended with @hookimpl")
