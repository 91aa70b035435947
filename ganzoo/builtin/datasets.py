"""Datasets that need no files: scikit-learn's handwritten digits, and synthetic discs for tests and benchmarks."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from importlib.metadata import version

import numpy as np
from PIL import Image, ImageDraw

from ganzoo.builtin.configs import DigitsConfig, SyntheticConfig
from ganzoo.components.dataset import Dataset, LabeledImages, SampleSource
from ganzoo.components.options import sides
from ganzoo.components.spec import LabelSpec


class Digits(Dataset):
    """1,797 digits of 8×8 pixels, gray, in ten classes; 16 levels of gray, spread over 0 to 255."""

    Config = DigitsConfig

    def fingerprint(self) -> Sequence[object]:
        """Return the version of scikit-learn, which ships the images."""
        return ("scikit-learn", version("scikit-learn"))

    def open(self) -> SampleSource:
        """Return all images, in scikit-learn's order."""
        from sklearn.datasets import load_digits

        digits = load_digits()
        pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)
        return LabeledImages(digits.target.tolist(), lambda index: Image.fromarray(pixels[index]))

    def labels(self) -> LabelSpec | None:
        """Return the ten digits."""
        return LabelSpec.classes("0123456789")


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
        return LabeledImages([index % self.config.num_classes for index in range(self.config.count)], self._draw)

    def labels(self) -> LabelSpec | None:
        """Return a name for each hue."""
        return LabelSpec.classes(f"hue {index}" for index in range(self.config.num_classes))

    def _draw(self, index: int) -> Image.Image:
        rng = np.random.default_rng((self.config.seed % 2**64, index))
        height, width = (2 * side for side in sides(self.config.image_size))
        radius = min(height, width) * rng.uniform(0.15, 0.3)
        x, y = (width, height) * rng.uniform(0.3, 0.7, size=2)
        ground = int(rng.integers(10, 40))
        image = Image.new("RGB", (width, height), (ground, ground, ground))
        color = colorsys.hsv_to_rgb(
            index % self.config.num_classes / self.config.num_classes, 0.9, rng.uniform(0.7, 1.0)
        )
        red, green, blue = (round(255 * value) for value in color)
        ImageDraw.Draw(image).ellipse((x - radius, y - radius, x + radius, y + radius), fill=(red, green, blue))
        return image
