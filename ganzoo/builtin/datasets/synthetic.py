"""Synthetic images of colored discs, for tests and benchmarks."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from ganzoo.builtin.datasets.configs import SyntheticConfig
from ganzoo.components.dataset import Dataset, SampleSource
from ganzoo.components.options import sides
from ganzoo.components.spec import LabelSpec


class Synthetic(Dataset):
    """A disc of random place, size and brightness on a dark ground; its hue tells the class.

    Image i is of class i mod `num_classes` and depends on (seed, i) alone, so nothing is stored.
    """

    Config = SyntheticConfig
    config: SyntheticConfig

    def fingerprint(self) -> Sequence[object]:
        """Return nothing: the options determine the images."""
        return ()

    def open(self) -> SampleSource:
        """Return the images, drawn at twice their final size so that the resize smooths the disc's edge."""
        return _Discs(self.config)

    def labels(self) -> LabelSpec | None:
        """Return a name for each hue."""
        return LabelSpec.classes(f"hue {index}" for index in range(self.config.num_classes))


class _Discs:
    def __init__(self, config: SyntheticConfig) -> None:
        self._config = config

    @property
    def targets(self) -> list[int]:
        return [index % self._config.num_classes for index in range(len(self))]

    def __len__(self) -> int:
        return self._config.count

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        label = index % self._config.num_classes
        rng = np.random.default_rng((self._config.seed % 2**64, index))
        height, width = (2 * side for side in sides(self._config.image_size))
        radius = min(height, width) * rng.uniform(0.15, 0.3)
        x, y = (width, height) * rng.uniform(0.3, 0.7, size=2)
        ground = int(rng.integers(10, 40))
        image = Image.new("RGB", (width, height), (ground, ground, ground))
        color = colorsys.hsv_to_rgb(label / self._config.num_classes, 0.9, rng.uniform(0.7, 1.0))
        red, green, blue = (round(255 * value) for value in color)
        ImageDraw.Draw(image).ellipse((x - radius, y - radius, x + radius, y + radius), fill=(red, green, blue))
        return image, label
