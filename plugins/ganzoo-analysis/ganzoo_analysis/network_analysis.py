"""Analyses of a trained run's networks: nearest training images, filters, discriminator features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import torch
from ganzoo_dcgan.batch_norm_calibration import calibrated_batch_norm, training_batches
from ganzoo_metrics.nearest_neighbors import Neighbors, nearest, nearest_of_its_own
from torch import Tensor

from ganzoo.plugin import Discriminator, Overrides, RequestError, TrainedRun, count_progress, real_images
from ganzoo_analysis import filters, linear_probe
from ganzoo_analysis.figures import Panel, save_figure
from ganzoo_analysis.filters import Layer, Responses
from ganzoo_analysis.latent_space import describe, images_of
from ganzoo_analysis.points import SamplingOptions

PROBE = "probe.json"
COMPARED = 256
"""Number of samples, and of training images, over which median distances are taken."""


@dataclass(frozen=True)
class Neighborhood:
    """Samples beside their nearest training images.

    Attributes:
        samples: (N, C, H, W) in [−1, 1].
        neighbors: (N, k, C, H, W), nearest first.
        found: their indices in the dataset and distances: L2 over all pixels of images in [−1, 1].
        samples_median: median distance of 256 samples to their nearest training image.
        training_median: the same for 256 training images, to their nearest other one. Samples that are much nearer
            than this are copies; a typical distance alone says nothing.
        about: how the samples were made.
    """

    samples: Tensor
    neighbors: Tensor
    found: Neighbors
    samples_median: float
    training_median: float
    about: Mapping[str, object]

    def save(self, path: Path) -> None:
        """Write a PNG: a row for each sample, the sample and then its neighbors with their distances."""
        k = self.neighbors.shape[1]
        captions = [f"{distance:.1f}" for distance in self.found.distances.flatten().tolist()]
        panels = [
            Panel(self.samples, 1, "sample", [""] * len(self.samples)),
            Panel(self.neighbors.flatten(0, 1), k, "nearest training images", captions),
        ]
        save_figure(panels, path, about=self.about)


def neighbors(
    run: TrainedRun, *, count: int = 8, k: int = 5, seed: int = 0, **options: Unpack[SamplingOptions]
) -> Neighborhood:
    """Find the training images nearest to samples by pixels, which shows copies; needs the dataset.

    Raises:
        DataError: the dataset is not there.
        RequestError: there are fewer training images than neighbors, or the label does not fit the generator.
    """
    _ = run.image
    packed = run.training_set()
    if len(packed) < 2:
        raise RequestError(f"{run.path}: was trained on one image: neighbors are told from those of another one")
    images = images_of(run, run.latents(max(count, COMPARED), seed), options)
    with count_progress(what="searching training images") as progress:
        found = nearest(images[:count], packed, k, progress=progress)
        samples = nearest(images[:COMPARED], packed, 1, progress=progress)
        training = nearest_of_its_own(packed, COMPARED, progress=progress)
    return Neighborhood(
        samples=images[:count],
        neighbors=torch.stack([real_images(packed, one) for one in found.indices]),
        found=found,
        samples_median=float(samples.distances.median()),
        training_median=float(training.distances.median()),
        about=describe(run, options, seed=seed),
    )


@dataclass(frozen=True)
class FirstFilters:
    """Filters of the generator's last and the discriminator's first convolution, and the layers of the generator."""

    generator: Tensor
    discriminator: Tensor
    generator_layers: list[Layer]

    def save(self, folder: Path) -> list[Path]:
        """Write `generator_filters.png` and `discriminator_filters.png`, and return their paths."""
        written = []
        for name, pictures in (("generator", self.generator), ("discriminator", self.discriminator)):
            written.append(folder / f"{name}_filters.png")
            save_figure([Panel(pictures, max(1, round(len(pictures) ** 0.5)))], written[-1])
        return written


def first_filters(run: TrainedRun) -> FirstFilters:
    """Return the filters of the discriminator's first convolution, and of the generator's last, which makes the image.

    Raises:
        RequestError: a network has no convolution there.
    """
    channels = run.image.channels
    made, seen = filters.generator_layers(run.generator), filters.discriminator_layers(run.discriminator)
    if not made or not seen:
        raise RequestError(f"{run.path}: the {'discriminator' if made else 'generator'} has no convolutions to show")
    return FirstFilters(filters.filter_pictures(made[-1], channels), filters.filter_pictures(seen[0], channels), made)


@dataclass(frozen=True)
class Guided:
    """Strongest responses of features of the trained discriminator, and of one with random weights."""

    trained: Responses
    random: Responses

    def save(self, path: Path) -> None:
        """Write a PNG: a row for each feature; the images, their guided gradients, and those with random weights."""
        top = self.trained.images.shape[1]
        titles = (
            f"layer {self.trained.layer}, features {', '.join(map(str, self.trained.features))}",
            "guided backpropagation",
            "the same with random weights",
        )
        groups = (self.trained.images, self.trained.guided, self.random.guided)
        save_figure([Panel(group.flatten(0, 1), top, title) for group, title in zip(groups, titles, strict=True)], path)


def guided(
    run: TrainedRun, *, layer: int = -1, features: Sequence[int] | None = None, count: int = 6, seed: int = 0
) -> Guided:
    """Run guided backpropagation from discriminator features, trained and random (paper, fig. 5); needs the dataset.

    Args:
        run: a trained run.
        layer: index of the maps that `Discriminator.features` returns; −1 for the last.
        features: channels of this layer; default: the `count` with the strongest response. The random network's are
            the same channels, each with the images that it responds to most itself.
        count: how many where none are named.
        seed: of the random weights, and of the choice of images to search.

    Raises:
        DataError: the dataset is not there.
        RequestError: there is no such layer or feature, or the network has no rectifier.
    """
    packed = run.training_set()

    def strongest(discriminator: Discriminator, which: Sequence[int] | None) -> Responses:
        with calibrated_batch_norm(discriminator, training_batches(packed)):
            return filters.strongest_responses(
                discriminator, packed, layer=layer, features=which, count=count, seed=seed
            )

    if run.discriminator.info.samples != packed.info.samples:
        judged = run.discriminator.info.samples
        raise RequestError(f"{run.path}: its discriminator judges {judged}, and the images are {packed.info.samples}")
    trained = strongest(run.discriminator, features)
    return Guided(trained, strongest(run.untrained_discriminator(seed), trained.features))


@dataclass(frozen=True)
class Dropped:
    """Images (N, C, H, W) in [−1, 1] of the same latents, as they are and without some feature maps."""

    before: Tensor
    after: Tensor
    about: Mapping[str, object]

    def save(self, path: Path) -> None:
        """Write a PNG with both side by side."""
        columns = max(1, round(len(self.before) ** 0.5))
        save_figure(
            [Panel(self.before, columns, "as trained"), Panel(self.after, columns, "maps dropped")],
            path,
            about=self.about,
        )


def drop(
    run: TrainedRun,
    maps: Mapping[int, Sequence[int]],
    *,
    count: int = 16,
    seed: int = 0,
    **options: Unpack[SamplingOptions],
) -> Dropped:
    """Sample images with and without some generator feature maps (paper, fig. 6, which drops those of windows).

    Args:
        run: a trained run.
        maps: by the index of a convolution of the generator, in the order in which it runs them, channels of its
            output after norm and activation.
        count: how many images.
        seed: of their latents.
        options: label, weights, batch_norm. With the "batch" and "standing" statistics of batch norm, later layers
            normalize by the statistics of the remaining maps.

    Raises:
        RequestError: there is no such layer or map, or the label does not fit the generator.
    """
    generator = run.generator_with(options.get("weights", "auto"))
    layers = filters.generator_layers(generator)
    latents = run.latents(count, seed)
    before = images_of(run, latents, options)
    with filters.dropping(layers, maps):
        after = images_of(run, latents, options)
    dropped = {index: list(those) for index, those in maps.items()}
    return Dropped(before, after, describe(run, options, seed=seed, dropped=dropped))


def probe(
    run: TrainedRun,
    *,
    dataset: str | None = None,
    overrides: Overrides = (),
    train: int = 1000,
    draws: int = 5,
    seed: int = 0,
) -> dict[str, Any]:
    """Fit a linear SVM to the discriminator's features (paper, tables 1 and 2); needs labeled images.

    Args:
        run: a trained run.
        dataset: another one than the run's, by name, at the run's image size and channels.
        overrides: changes to the recipe's dataset, such as `{"dataset.split": "test"}`.
        train: labeled images to fit, over all classes.
        draws: how often to draw them.
        seed: of the draws, and of the random weights of the baseline.

    Returns:
        scores and protocol as `linear_probe.probe` returns them, also written to `probe.json` in the run directory.

    Raises:
        DataError: the images are not there, or have no labels.
        RequestError: they are of another shape than the discriminator's, or too few.
    """
    _ = run.image
    packed, options = run.open_dataset(dataset, overrides)
    result = linear_probe.probe(
        run.discriminator, run.untrained_discriminator(seed), packed, train=train, draws=draws, seed=seed
    )
    told = {"run": str(run.path), "step": run.checkpoint.step, "dataset": options.model_dump(mode="json")}
    result["protocol"] = {**told, **result["protocol"]}
    run.directory.write_json(PROBE, result)
    return result
