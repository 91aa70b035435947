"""Gaussians in two dimensions, and stacked MNIST."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
from ganzoo_datasets.torchvision_sets import MNIST

from ganzoo.plugin import Dataset, LabelSpec, SampleSource
from ganzoo_benchmarks.configs import GaussiansConfig, GridConfig, RingConfig, StackedMNISTConfig

SPLITS = {"all": ("train", "test"), "train": ("train",), "test": ("test",)}


class Gaussians(Dataset):
    """Points of Gaussians in two dimensions, labeled by the Gaussian that they come from."""

    Config = GaussiansConfig
    config: GaussiansConfig

    def fingerprint(self) -> Sequence[object]:
        """Return the order of the points; all else the options say."""
        return [] if self.config.limit is None else ["by Gaussian"]

    def labels(self) -> LabelSpec | None:
        """Return a class for each Gaussian, named by its mean."""
        centers = np.array(self.config.centers())
        centers[np.abs(centers) < 1e-9 * np.abs(centers).max()] = 0.0  # as sines and cosines of π are rounded
        return LabelSpec.classes(f"({x:.3g}, {y:.3g})" for x, y in centers)

    def open(self) -> SampleSource:
        """Draw the points, of each Gaussian in turn; with `limit`, which takes some all over, one after the other."""
        centers = np.array(self.config.centers())
        labels = np.arange(self.config.count) % len(centers)
        rng = np.random.default_rng(self.config.data_seed)
        points = centers[labels] + rng.normal(scale=self.config.sigma, size=(len(labels), 2))
        order = slice(None) if self.config.limit is None else np.argsort(labels, kind="stable")
        return list(zip(points[order], labels[order].tolist(), strict=True))


class Ring(Gaussians):
    """Gaussians on a circle."""

    Config = RingConfig


class Grid(Gaussians):
    """Gaussians on the points of a square grid."""

    Config = GridConfig


class StackedMNIST(Dataset):
    """Triples of MNIST digits; the class is the number that they read as, the first channel its first digit."""

    Config = StackedMNISTConfig
    config: StackedMNISTConfig

    def __init__(self, config: StackedMNISTConfig) -> None:
        super().__init__(config)
        self._splits = [
            MNIST(MNIST.Config(name="mnist", root=config.root, download=config.download, split=split))
            for split in SPLITS[config.split]
        ]

    def prepare(self) -> None:
        """Download MNIST if it is missing.

        Raises:
            DataError: it cannot be downloaded, or must not be.
        """
        self._splits[0].prepare()

    def fingerprint(self) -> Sequence[object]:
        """Return names, sizes and times of MNIST's files."""
        return self._splits[0].fingerprint()

    def labels(self) -> LabelSpec | None:
        """Return the classes "000" to "999"."""
        return LabelSpec.classes("".join(digits) for digits in product("0123456789", repeat=3))

    def open(self) -> SampleSource:
        """Draw the triples, with replacement."""
        splits: list[Any] = [dataset.open() for dataset in self._splits]
        images = np.concatenate([split.data.numpy() for split in splits])
        digits = np.concatenate([split.targets.numpy() for split in splits])
        chosen = np.random.default_rng(self.config.data_seed).integers(len(images), size=(self.config.count, 3))
        return Triples(images, digits, chosen)


class Triples:
    """Stacked images and their classes, each made when it is read."""

    def __init__(self, images: npt.NDArray[Any], digits: npt.NDArray[Any], chosen: npt.NDArray[Any]) -> None:
        self._images = images
        self._chosen = chosen
        self.targets: list[int] = (digits[chosen] @ np.array([100, 10, 1])).tolist()

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, index: int, /) -> tuple[npt.NDArray[Any], int]:
        return np.stack(list(self._images[self._chosen[index]]), axis=-1), self.targets[index]
